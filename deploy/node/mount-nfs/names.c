/*
 * What happens to names in directories.
 *
 * An answer may be lost with its connection and the question asked again: then
 * what was to be removed may be gone already, by us. What was to be made may be
 * there already, by us or by somebody else, and nobody can tell: EEXIST stays.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include "names.h"

struct node *node_of(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? &root : (struct node *)ino;
}

struct caller caller_of(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct caller who = { .uid = ctx->uid, .gid = ctx->gid, .pid = ctx->pid };
	gid_t groups[GROUPS];
	int count = fuse_req_getgroups(req, GROUPS, groups);

	who.count = count < 0 ? 0 : count > GROUPS ? GROUPS : count;
	for (int i = 0; i < who.count; i++)
		who.groups[i] = groups[i];
	return who;
}

struct stat stat_of(const fattr3 *from)
{
	static const mode_t kinds[] = {
		[NF3REG] = S_IFREG, [NF3DIR] = S_IFDIR,   [NF3BLK] = S_IFBLK, [NF3CHR] = S_IFCHR,
		[NF3LNK] = S_IFLNK, [NF3SOCK] = S_IFSOCK, [NF3FIFO] = S_IFIFO,
	};
	mode_t kind = from->type >= NF3REG && from->type <= NF3FIFO ? kinds[from->type] : S_IFREG;

	return (struct stat){
		.st_ino = from->fileid,
		.st_mode = kind | (from->mode & 07777),
		.st_nlink = from->nlink,
		.st_uid = from->uid,
		.st_gid = from->gid,
		.st_rdev = makedev(from->rdev.specdata1, from->rdev.specdata2),
		.st_size = from->size,
		.st_blksize = 1 << 16,
		.st_blocks = (from->used + 511) / 512,
		.st_atim = { from->atime.seconds, from->atime.nseconds },
		.st_mtim = { from->mtime.seconds, from->mtime.nseconds },
		.st_ctim = { from->ctime.seconds, from->ctime.nseconds },
	};
}

void take_found(const post_op_fh3 *handle, const post_op_attr *attributes, struct found *into)
{
	into->has_handle = handle->handle_follows &&
			   take_handle(&handle->post_op_fh3_u.handle, &into->handle);
	into->has_attributes = attributes->attributes_follow;
	if (into->has_attributes)
		into->attributes = stat_of(&attributes->post_op_attr_u.attributes);
}

static void take_attributes(const void *result, void *into)
{
	*(struct stat *)into =
		stat_of(&((const GETATTR3res *)result)->GETATTR3res_u.resok.obj_attributes);
}

int get_attributes(const struct caller *who, struct handle *handle, long patience,
		   struct stat *into)
{
	GETATTR3args args = { .object = fh_of(handle) };
	struct question q = {
		.send = SEND(getattr), .args = &args, .take = take_attributes, .into = into,
		.patience = patience,
	};

	return ask(who, &q);
}

static void take_lookup(const void *result, void *into)
{
	const LOOKUP3resok *ok = &((const LOOKUP3res *)result)->LOOKUP3res_u.resok;
	post_op_fh3 handle = { .handle_follows = 1, .post_op_fh3_u.handle = ok->object };

	take_found(&handle, &ok->obj_attributes, into);
}

/* What CREATE, MKDIR, SYMLINK and MKNOD return is laid out alike. */
static void take_made(const void *result, void *into)
{
	const MKDIR3resok *ok = &((const MKDIR3res *)result)->MKDIR3res_u.resok;

	take_found(&ok->obj, &ok->obj_attributes, into);
}

static diropargs3 place_of(struct node *dir, const char *name)
{
	return (diropargs3){ .dir = fh_of(&dir->handle), .name = (char *)name };
}

static sattr3 only_mode(mode_t mode)
{
	return (sattr3){ .mode = { .set_it = 1, .set_mode3_u.mode = mode & 07777 } };
}

int look_up(const struct caller *who, struct node *dir, const char *name, struct found *into)
{
	LOOKUP3args args = { .what = place_of(dir, name) };
	struct question q = {
		.send = SEND(lookup), .args = &args, .take = take_lookup, .into = into
	};
	int error = ask(who, &q);

	if (!error && !into->has_handle)
		return -EIO;
	if (!error && !into->has_attributes)
		error = get_attributes(who, &into->handle, 0, &into->attributes);
	return error;
}

int complete(const struct caller *who, struct node *dir, const char *name, struct found *found)
{
	if (found->has_handle && found->has_attributes)
		return 0;
	return look_up(who, dir, name, found);
}

int make_entry(const struct found *found, struct fuse_entry_param *entry)
{
	struct node *node = node_get(&found->handle);

	if (!node)
		return -ENOMEM;
	*entry = (struct fuse_entry_param){
		.ino = node == &root ? FUSE_ROOT_ID : (fuse_ino_t)node,
		.attr = found->attributes,
		.attr_timeout = TRUST,
		.entry_timeout = TRUST,
	};
	return 0;
}

void reply_found(fuse_req_t req, int error, const struct found *found)
{
	struct fuse_entry_param entry;

	if (!error)
		error = make_entry(found, &entry);
	if (error)
		fuse_reply_err(req, -error);
	else if (fuse_reply_entry(req, &entry))
		node_forget(node_of(entry.ino), 1);
}

void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct caller who = caller_of(req);
	struct found found = { 0 };
	int error = look_up(&who, node_of(parent), name, &found);

	reply_found(req, error, &found);
}

void do_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
	node_forget(node_of(ino), lookups);
	fuse_reply_none(req);
}

/* Ask for something new called `name`, and tell the kernel of it. */
static void make(fuse_req_t req, fuse_ino_t parent, const char *name, send_fn send, void *args)
{
	struct caller who = caller_of(req);
	struct found found = { 0 };
	struct question q = { .send = send, .args = args, .take = take_made, .into = &found };
	int error = ask(&who, &q);

	if (!error)
		error = complete(&who, node_of(parent), name, &found);
	reply_found(req, error, &found);
}

void do_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	MKDIR3args args = {
		.where = place_of(node_of(parent), name), .attributes = only_mode(mode)
	};

	make(req, parent, name, SEND(mkdir), &args);
}

void do_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	SYMLINK3args args = {
		.where = place_of(node_of(parent), name),
		.symlink = { .symlink_attributes = only_mode(0777), .symlink_data = (char *)target },
	};

	make(req, parent, name, SEND(symlink), &args);
}

void do_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
	MKNOD3args args = { .where = place_of(node_of(parent), name) };
	mknoddata3 *what = &args.what;

	if (S_ISREG(mode)) {
		CREATE3args plain = { .where = args.where, .how.mode = GUARDED };

		plain.how.createhow3_u.g_obj_attributes = only_mode(mode);
		make(req, parent, name, SEND(create), &plain);
		return;
	}
	what->type = S_ISFIFO(mode) ? NF3FIFO : S_ISSOCK(mode) ? NF3SOCK :
		     S_ISCHR(mode) ? NF3CHR : NF3BLK;
	if (S_ISFIFO(mode) || S_ISSOCK(mode)) {
		what->mknoddata3_u.pipe_attributes = only_mode(mode);
	} else {
		devicedata3 *made = &what->mknoddata3_u.chr_device;

		made->dev_attributes = only_mode(mode);
		made->spec.specdata1 = major(device);
		made->spec.specdata2 = minor(device);
	}
	make(req, parent, name, SEND(mknod), &args);
}

static void take_target(const void *result, void *into)
{
	snprintf(into, PATH_MAX, "%s", ((const READLINK3res *)result)->READLINK3res_u.resok.data);
}

void do_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct caller who = caller_of(req);
	char target[PATH_MAX];
	READLINK3args args = { .symlink = fh_of(&node_of(ino)->handle) };
	struct question q = {
		.send = SEND(readlink), .args = &args, .take = take_target, .into = target
	};
	int error = ask(&who, &q);

	if (error)
		fuse_reply_err(req, -error);
	else
		fuse_reply_readlink(req, target);
}

static int link_to(const struct caller *who, struct handle *file, struct node *dir,
		   const char *name)
{
	LINK3args args = { .file = fh_of(file), .link = place_of(dir, name) };
	struct question q = { .send = SEND(link), .args = &args };

	return ask(who, &q);
}

void do_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct caller who = caller_of(req);
	struct found found = { 0 };
	int error = link_to(&who, &node_of(ino)->handle, node_of(parent), name);

	if (!error)
		error = look_up(&who, node_of(parent), name, &found);
	reply_found(req, error, &found);
}

static int remove_name(const struct caller *who, struct node *dir, const char *name, send_fn send)
{
	REMOVE3args args = { .object = place_of(dir, name) };
	struct question q = { .send = send, .args = &args };
	int error = ask(who, &q);

	return q.repeated && error == -ENOENT ? 0 : error;
}

/*
 * NFS version 3 knows no open files: one whose last name goes is gone for its
 * readers too. Give it another name before, which its last close removes.
 * What cannot be hidden, such as another person's file, goes at once.
 */
static void hide_if_open(const struct caller *who, struct node *dir, const char *name,
			 struct found *file)
{
	struct hidden hidden = { .dir = dir->handle, .who = *who };
	static unsigned int count;

	*file = (struct found){ 0 };
	if (!any_open() || look_up(who, dir, name, file) || !S_ISREG(file->attributes.st_mode) ||
	    file->attributes.st_nlink > 1 || !node_is_open(&file->handle))
		return;
	snprintf(hidden.name, sizeof(hidden.name), ".nfs%016llx%08x",
		 (unsigned long long)file->attributes.st_ino,
		 __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED));
	hidden.who.pid = 0;
	if (link_to(who, &file->handle, dir, hidden.name))
		return;
	if (!node_hide(&file->handle, &hidden))
		remove_name(who, dir, hidden.name, SEND(remove));
}

void do_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct caller who = caller_of(req);
	struct found file;

	hide_if_open(&who, node_of(parent), name, &file);
	fuse_reply_err(req, -remove_name(&who, node_of(parent), name, SEND(remove)));
}

void do_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct caller who = caller_of(req);

	fuse_reply_err(req, -remove_name(&who, node_of(parent), name, SEND(rmdir)));
}

void do_rename(fuse_req_t req, fuse_ino_t from, const char *name, fuse_ino_t to,
	       const char *new_name, unsigned int flags)
{
	struct caller who = caller_of(req);
	RENAME3args args = {
		.from = place_of(node_of(from), name), .to = place_of(node_of(to), new_name)
	};
	struct question q = { .send = SEND(rename), .args = &args };
	struct found there = { 0 };
	int error;

	/* RENAME_NOREPLACE and RENAME_EXCHANGE are not in the protocol. */
	if (flags) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	hide_if_open(&who, node_of(to), new_name, &there);
	error = ask(&who, &q);
	if (error == -ENOENT && q.repeated)
		error = look_up(&who, node_of(to), new_name, &there);
	fuse_reply_err(req, -error);
}
