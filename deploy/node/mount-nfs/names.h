/* Between what FUSE says and what NFS says: callers, attributes, entries. */
#ifndef NAMES_H
#define NAMES_H

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>
#include <sys/stat.h>
#include "nodes.h"

/* How long the kernel may trust names and attributes, in seconds. */
#define TRUST 1.0

/* What a question about a name found. */
struct found {
	bool has_handle, has_attributes;
	struct handle handle;
	struct stat attributes;
};

struct node *node_of(fuse_ino_t ino);
struct caller caller_of(fuse_req_t req);
struct stat stat_of(const fattr3 *from);
void take_found(const post_op_fh3 *handle, const post_op_attr *attributes, struct found *into);
int get_attributes(const struct caller *who, struct handle *handle, long patience,
		   struct stat *into);
int look_up(const struct caller *who, struct node *dir, const char *name, struct found *into);
/* Fill in what an answer about `name` left out. */
int complete(const struct caller *who, struct node *dir, const char *name, struct found *found);
/* What the kernel is told of an entry; it counts as one lookup of it. */
int make_entry(const struct found *found, struct fuse_entry_param *entry);
void reply_found(fuse_req_t req, int error, const struct found *found);

/* Operations of names.c and listing.c, as fuse_lowlevel_ops has them. */
void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void do_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups);
void do_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void do_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device);
void do_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void do_readlink(fuse_req_t req, fuse_ino_t ino);
void do_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void do_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void do_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void do_rename(fuse_req_t req, fuse_ino_t from, const char *name, fuse_ino_t to,
	       const char *new_name, unsigned int flags);
void do_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void do_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		    struct fuse_file_info *fi);
void do_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

#endif
