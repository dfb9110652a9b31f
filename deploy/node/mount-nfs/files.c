/*
 * Files that are open: what is in them.
 *
 * Whoever opened a file reads and writes it with the rights of that moment, as
 * with a file on a disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "files.h"

/* The kernel's own flag of a program that is about to run; it may be unreadable otherwise. */
#define OPENED_TO_RUN 0x20

struct fuse_session *session;

struct open_file {
	struct caller who;
};

/* Who opened the file; but who waits now is who can be killed meanwhile. */
struct caller opener_of(fuse_req_t req, const struct fuse_file_info *fi)
{
	struct caller who = ((struct open_file *)(uintptr_t)fi->fh)->who;

	who.pid = fuse_req_ctx(req)->pid;
	return who;
}

/* Take the file into use: `fi` is what the kernel gets. */
static int use(struct node *node, const struct caller *who, struct fuse_file_info *fi)
{
	struct open_file *file = malloc(sizeof(*file));

	if (!file)
		return -ENOMEM;
	file->who = *who;
	fi->fh = (uintptr_t)file;
	/* Only the server knows where the end is, so the kernel must not cache there. */
	fi->direct_io = !!(fi->flags & O_APPEND);
	node_opened(node);
	return 0;
}

/* The end of a use; the last one removes a file that has no other name. */
static void unuse(struct node *node, struct fuse_file_info *fi)
{
	struct hidden *hidden = node_closed(node);

	if (hidden) {
		REMOVE3args args = {
			.object = { .dir = fh_of(&hidden->dir), .name = hidden->name }
		};
		struct question q = { .send = SEND(remove), .args = &args };

		ask(&hidden->who, &q);
		free(hidden);
	}
	free((struct open_file *)(uintptr_t)fi->fh);
}

static void take_created(const void *result, void *into)
{
	const CREATE3resok *ok = &((const CREATE3res *)result)->CREATE3res_u.resok;

	take_found(&ok->obj, &ok->obj_attributes, into);
}

static int create(const struct caller *who, struct node *dir, const char *name, mode_t mode,
		  int flags, struct found *found)
{
	CREATE3args args = { .where = { .dir = fh_of(&dir->handle), .name = (char *)name } };
	struct question q = {
		.send = SEND(create), .args = &args, .take = take_created, .into = found
	};
	sattr3 wanted = { .mode = { .set_it = 1, .set_mode3_u.mode = mode & 07777 } };
	int error;

	if (!(flags & O_EXCL)) {
		if (flags & O_TRUNC)
			wanted.size.set_it = 1;
		args.how.createhow3_u.obj_attributes = wanted;
		error = ask(who, &q);
		return error ? error : complete(who, dir, name, found);
	}
	args.how.mode = EXCLUSIVE;
	/* By this the server tells a repeated question from another's. */
	if (getrandom(args.how.createhow3_u.verf, sizeof(createverf3), 0) != sizeof(createverf3))
		return -EIO;
	error = ask(who, &q);
	if (!error)
		error = complete(who, dir, name, found);
	/* The verifier stands where the times belong, and there was no room for the mode. */
	wanted.atime.set_it = SET_TO_SERVER_TIME;
	wanted.mtime.set_it = SET_TO_SERVER_TIME;
	if (!error)
		error = set_attributes(who, &found->handle, &wanted);
	if (!error)
		error = get_attributes(who, &found->handle, 0, &found->attributes);
	return error;
}

void do_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi)
{
	struct caller who = caller_of(req);
	struct found found = { 0 };
	struct fuse_entry_param entry;
	int error = create(&who, node_of(parent), name, mode, fi->flags, &found);

	if (!error)
		error = make_entry(&found, &entry);
	if (!error) {
		error = use(node_of(entry.ino), &who, fi);
		if (error)
			node_forget(node_of(entry.ino), 1);
	}
	if (error) {
		fuse_reply_err(req, -error);
	} else if (fuse_reply_create(req, &entry, fi)) {
		unuse(node_of(entry.ino), fi);
		node_forget(node_of(entry.ino), 1);
	}
}

static int may_open(const struct caller *who, struct node *node, int flags)
{
	int error = 0;

	if (flags & OPENED_TO_RUN)
		error = check_access(who, node, ACCESS3_READ | ACCESS3_EXECUTE, false);
	else if ((flags & O_ACCMODE) != O_WRONLY)
		error = check_access(who, node, ACCESS3_READ, true);
	if (!error && (flags & O_ACCMODE) != O_RDONLY)
		error = check_access(who, node, ACCESS3_MODIFY | ACCESS3_EXTEND, false);
	return error;
}

void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct caller who = caller_of(req);
	struct node *node = node_of(ino);
	sattr3 empty = { .size = { .set_it = 1 } };
	int error = may_open(&who, node, fi->flags);

	if (!error && fi->flags & O_TRUNC) {
		error = node_settle(node, &who);
		if (!error)
			error = set_attributes(&who, &node->handle, &empty);
	}
	if (!error)
		error = use(node, &who, fi);
	if (error) {
		fuse_reply_err(req, -error);
		return;
	}
	/* Who opens a file sees it as it is now, not as it was a second ago. */
	fuse_lowlevel_notify_inval_inode(session, ino, -1, 0);
	if (fuse_reply_open(req, fi))
		unuse(node, fi);
}

struct reading {
	char *buffer;
	uint32_t room, count;
	bool end;
};

static void take_read(const void *result, void *into)
{
	const READ3resok *ok = &((const READ3res *)result)->READ3res_u.resok;
	struct reading *reading = into;

	reading->count = ok->data.data_len < reading->room ? ok->data.data_len : reading->room;
	reading->end = ok->eof || !reading->count;
	memcpy(reading->buffer, ok->data.data_val, reading->count);
}

void do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
	     struct fuse_file_info *fi)
{
	struct caller who = opener_of(req, fi);
	struct node *node = node_of(ino);
	char *buffer = malloc(size);
	size_t done = 0;
	bool end = false;
	int error = buffer ? 0 : -ENOMEM;

	/* A short answer means the end to the kernel, so it has to be the end. */
	while (!error && done < size && !end) {
		uint32_t room = size - done < CHUNK ? size - done : CHUNK;
		READ3args args = {
			.file = fh_of(&node->handle), .offset = offset + done, .count = room
		};
		struct reading reading = { .buffer = buffer + done, .room = room };
		struct question q = {
			.send = SEND(read), .args = &args, .take = take_read, .into = &reading
		};

		error = ask(&who, &q);
		done += reading.count;
		end = reading.end;
	}
	if (error)
		fuse_reply_err(req, -error);
	else
		fuse_reply_buf(req, buffer, done);
	free(buffer);
}

void do_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
	      struct fuse_file_info *fi)
{
	struct caller who = opener_of(req, fi);
	struct stat attributes;
	int done = 0;

	/* Pages of a mapped file are where they are, whatever the file is open for. */
	if (fi->flags & O_APPEND && !fi->writepage) {
		done = get_attributes(&who, &node_of(ino)->handle, 0, &attributes);
		offset = attributes.st_size;
	}
	if (!done)
		done = node_write(node_of(ino), &who, offset, data, size);
	if (done < 0)
		fuse_reply_err(req, -done);
	else
		fuse_reply_write(req, done);
}

void do_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	struct caller who = opener_of(req, fi);

	(void)data_only;
	fuse_reply_err(req, -node_commit(node_of(ino), &who));
}

/* A server has to have a name on its disk before it answers; there is nothing left to ask. */
void do_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi)
{
	(void)ino;
	(void)data_only;
	(void)fi;
	fuse_reply_err(req, 0);
}

void do_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	unuse(node_of(ino), fi);
	fuse_reply_err(req, 0);
}
