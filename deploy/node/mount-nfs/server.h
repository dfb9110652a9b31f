/* Questions to the NFS server, and the wait for their answers. */
#ifndef SERVER_H
#define SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>

/* AUTH_SYS carries no more groups than these. */
#define GROUPS 16

/* For whom something is asked: the server decides what that person may. */
struct caller {
	uid_t uid;
	gid_t gid;
	int count;
	uint32_t groups[GROUPS];
	pid_t pid; /* who waits for the answer; 0 if nobody does */
};

/* One of the programs that the server runs, and the connection to it. */
struct link {
	struct rpc_context *rpc;
	int program, version;
	int port; /* 0: rpcbind knows it */
};

typedef int (*send_fn)(struct rpc_context *, rpc_cb, void *args, void *private);
typedef void (*take_fn)(const void *result, void *into);

struct question {
	send_fn send;
	void *args;
	take_fn take;  /* copies what is wanted of the result; may be NULL */
	void *into;
	long patience; /* milliseconds; 0: for ever */
	bool repeated; /* set if it may have reached the server more than once */
};

/* Settings of this mount: where the server is, and for how long to wait for it. */
extern struct server {
	const char *name;
	int port;
	long patience; /* milliseconds; 0: for ever, a `hard` mount */
} server;

/* Ask over `link`, as often as it takes. 0, or an errno below zero. */
int ask_over(struct link *link, const struct caller *who, struct question *q);
/* The same over this thread's own connection to the NFS server. */
int ask(const struct caller *who, struct question *q);
void close_link(struct link *link);
/* Why the connection could not be made or was lost, in a few words. */
const char *trouble(void);

/* SEND(getattr) is what `send` of a question is for GETATTR. */
#define SEND(operation) send_##operation
#define DECLARE_SEND(operation) \
	int send_##operation(struct rpc_context *, rpc_cb, void *, void *)
DECLARE_SEND(getattr);
DECLARE_SEND(setattr);
DECLARE_SEND(lookup);
DECLARE_SEND(access);
DECLARE_SEND(readlink);
DECLARE_SEND(read);
DECLARE_SEND(write);
DECLARE_SEND(create);
DECLARE_SEND(mkdir);
DECLARE_SEND(symlink);
DECLARE_SEND(mknod);
DECLARE_SEND(remove);
DECLARE_SEND(rmdir);
DECLARE_SEND(rename);
DECLARE_SEND(link);
DECLARE_SEND(readdirplus);
DECLARE_SEND(fsstat);
DECLARE_SEND(commit);

#endif
