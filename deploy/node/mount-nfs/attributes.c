/*
 * What is known of a file, and what it may be used for.
 */
#include <errno.h>
#include <unistd.h>
#include "files.h"

/* Whoever unmounts looks at the root and its space first; that must not wait for the server. */
#define UNMOUNT_PATIENCE 3000

/* What the server said last of the root. */
static struct stat root_seen = { .st_mode = S_IFDIR | 0755, .st_nlink = 2 };
static pthread_mutex_t root_lock = PTHREAD_MUTEX_INITIALIZER;

static struct caller asker_of(fuse_req_t req, const struct fuse_file_info *fi)
{
	return fi ? opener_of(req, fi) : caller_of(req);
}

static long unmount_patience(void)
{
	return server.patience && server.patience < UNMOUNT_PATIENCE ? server.patience :
								       UNMOUNT_PATIENCE;
}

/* The root's attributes; old ones when the server does not answer soon. */
static int get_root(const struct caller *who, struct stat *into)
{
	int error = get_attributes(who, &root.handle, unmount_patience(), into);

	pthread_mutex_lock(&root_lock);
	if (!error)
		root_seen = *into;
	else if (error == -EIO)
		*into = root_seen;
	pthread_mutex_unlock(&root_lock);
	return error == -EIO ? 0 : error;
}

static int get_attributes_of(const struct caller *who, fuse_ino_t ino, struct stat *into)
{
	if (ino == FUSE_ROOT_ID)
		return get_root(who, into);
	return get_attributes(who, &node_of(ino)->handle, 0, into);
}

void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct caller who = asker_of(req, fi);
	struct stat attributes;
	int error = get_attributes_of(&who, ino, &attributes);

	if (error)
		fuse_reply_err(req, -error);
	else
		fuse_reply_attr(req, &attributes, TRUST);
}

int set_attributes(const struct caller *who, struct handle *handle, const sattr3 *wanted)
{
	SETATTR3args args = { .object = fh_of(handle), .new_attributes = *wanted };
	struct question q = { .send = SEND(setattr), .args = &args };

	return ask(who, &q);
}

static nfstime3 time_of(const struct timespec *from)
{
	return (nfstime3){ .seconds = from->tv_sec, .nseconds = from->tv_nsec };
}

static sattr3 wanted_of(const struct stat *from, int which)
{
	sattr3 wanted = { 0 };

	wanted.mode.set_it = !!(which & FUSE_SET_ATTR_MODE);
	wanted.mode.set_mode3_u.mode = from->st_mode & 07777;
	wanted.uid.set_it = !!(which & FUSE_SET_ATTR_UID);
	wanted.uid.set_uid3_u.uid = from->st_uid;
	wanted.gid.set_it = !!(which & FUSE_SET_ATTR_GID);
	wanted.gid.set_gid3_u.gid = from->st_gid;
	wanted.size.set_it = !!(which & FUSE_SET_ATTR_SIZE);
	wanted.size.set_size3_u.size = from->st_size;
	if (which & FUSE_SET_ATTR_ATIME)
		wanted.atime.set_it = which & FUSE_SET_ATTR_ATIME_NOW ? SET_TO_SERVER_TIME :
									 SET_TO_CLIENT_TIME;
	wanted.atime.set_atime_u.atime = time_of(&from->st_atim);
	if (which & FUSE_SET_ATTR_MTIME)
		wanted.mtime.set_it = which & FUSE_SET_ATTR_MTIME_NOW ? SET_TO_SERVER_TIME :
									 SET_TO_CLIENT_TIME;
	wanted.mtime.set_mtime_u.mtime = time_of(&from->st_mtim);
	return wanted;
}

void do_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *from, int which,
		struct fuse_file_info *fi)
{
	struct caller who = asker_of(req, fi);
	struct node *node = node_of(ino);
	sattr3 wanted = wanted_of(from, which);
	struct stat attributes;
	int error = 0;

	/* Nothing may be written again that is cut off now. */
	if (which & FUSE_SET_ATTR_SIZE)
		error = node_settle(node, &who);
	if (!error)
		error = set_attributes(&who, &node->handle, &wanted);
	if (!error)
		error = get_attributes_of(&who, ino, &attributes);
	if (error)
		fuse_reply_err(req, -error);
	else
		fuse_reply_attr(req, &attributes, TRUST);
}

static void take_access(const void *result, void *into)
{
	*(uint32_t *)into = ((const ACCESS3res *)result)->ACCESS3res_u.resok.access;
}

int check_access(const struct caller *who, struct node *node, uint32_t wanted, bool all)
{
	ACCESS3args args = { .object = fh_of(&node->handle), .access = wanted };
	uint32_t granted = 0;
	struct question q = {
		.send = SEND(access), .args = &args, .take = take_access, .into = &granted
	};
	int error = ask(who, &q);

	if (error)
		return error;
	granted &= wanted;
	return (all ? granted == wanted : granted != 0) ? 0 : -EACCES;
}

void do_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	struct caller who = caller_of(req);
	struct node *node = node_of(ino);
	struct stat attributes;
	uint32_t wanted = 0;
	int error = get_attributes_of(&who, ino, &attributes);
	bool dir = !error && S_ISDIR(attributes.st_mode);

	if (mask & R_OK)
		wanted |= ACCESS3_READ;
	if (mask & W_OK)
		wanted |= dir ? ACCESS3_MODIFY | ACCESS3_EXTEND : ACCESS3_MODIFY;
	if (mask & X_OK)
		wanted |= dir ? ACCESS3_LOOKUP : ACCESS3_EXECUTE;
	if (!error && wanted)
		error = check_access(&who, node, wanted, true);
	fuse_reply_err(req, -error);
}

static void take_space(const void *result, void *into)
{
	*(FSSTAT3resok *)into = ((const FSSTAT3res *)result)->FSSTAT3res_u.resok;
}

void do_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct caller who = caller_of(req);
	FSSTAT3args args = { .fsroot = fh_of(&node_of(ino)->handle) };
	FSSTAT3resok space;
	struct question q = {
		.send = SEND(fsstat), .args = &args, .take = take_space, .into = &space,
		.patience = unmount_patience(),
	};
	int error = ask(&who, &q);
	const unsigned long unit = 4096;

	if (error) {
		fuse_reply_err(req, -error);
		return;
	}
	fuse_reply_statfs(req, &(struct statvfs){
		.f_bsize = unit, .f_frsize = unit, .f_blocks = space.tbytes / unit,
		.f_bfree = space.fbytes / unit, .f_bavail = space.abytes / unit,
		.f_files = space.tfiles, .f_ffree = space.ffiles, .f_favail = space.afiles,
		.f_namemax = 255,
	});
}
