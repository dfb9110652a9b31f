/* The files that the kernel knows of, by their handles on the server. */
#ifndef NODES_H
#define NODES_H

#include <pthread.h>
#include "server.h"

/* What the server calls a file; it stays the same when the file is renamed. */
struct handle {
	unsigned int length;
	char bytes[64];
};

/* A write that the server has not promised to keep over a crash of its own. */
struct unsafe {
	struct unsafe *next;
	uint64_t offset;
	uint32_t size;
	writeverf3 boot; /* which life of the server took it */
	char data[];
};

/* An unlinked file's other name, under which it lives until its last close. */
struct hidden {
	struct handle dir;
	char name[40];
	struct caller who;
};

struct node {
	struct node *next;
	struct handle handle;
	uint64_t lookups; /* how often the kernel was given it */
	unsigned int opens;
	struct hidden *hidden;
	pthread_mutex_t lock; /* of what follows; held while it is committed */
	struct unsafe *unsafe, **end;
	size_t unsafe_bytes;
};

extern struct node root;

/* The handle as libnfs takes it; it points into `handle`. */
nfs_fh3 fh_of(struct handle *handle);
bool take_handle(const nfs_fh3 *from, struct handle *into);

/* The node of a handle, counted once more as known to the kernel; NULL without memory. */
struct node *node_get(const struct handle *handle);
void node_forget(struct node *node, uint64_t lookups);
/* Whether any file is open: only then may an unlinked one still be in use. */
bool any_open(void);
/* Give an open file its hidden name; false, with nothing done, if it is not open or has one. */
bool node_hide(const struct handle *handle, const struct hidden *hidden);
bool node_is_open(const struct handle *handle);
void node_opened(struct node *node);
/* What the last close of a hidden file has to remove, for the caller to free; else NULL. */
struct hidden *node_closed(struct node *node);

/* Write, and remember it until `node_commit`. Bytes written, or an errno below zero. */
int node_write(struct node *node, const struct caller *who, uint64_t offset, const char *data,
	       uint32_t size);
/* Return once the server has everything on its disk. */
int node_commit(struct node *node, const struct caller *who);
/* The same if anything is remembered; afterwards nothing will be written again. */
int node_settle(struct node *node, const struct caller *who);

#endif
