/* Open files, and attributes. */
#ifndef FILES_H
#define FILES_H

#include "names.h"

/* The most that is read or written at once. */
#define CHUNK (1 << 20)

/* The mount that the kernel is told about. */
extern struct fuse_session *session;

/* Who opened the file, and waits now. */
struct caller opener_of(fuse_req_t req, const struct fuse_file_info *fi);
int set_attributes(const struct caller *who, struct handle *handle, const sattr3 *wanted);
/* Whether the server grants `wanted`: all of it, or some. */
int check_access(const struct caller *who, struct node *node, uint32_t wanted, bool all);

/* Operations, as fuse_lowlevel_ops has them. */
void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void do_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *wanted, int which,
		struct fuse_file_info *fi);
void do_access(fuse_req_t req, fuse_ino_t ino, int mask);
void do_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi);
void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
	     struct fuse_file_info *fi);
void do_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
	      struct fuse_file_info *fi);
void do_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);
void do_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi);
void do_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void do_statfs(fuse_req_t req, fuse_ino_t ino);

#endif
