/*
 * Questions to the NFS server, and the wait for their answers.
 *
 * Every thread has a connection of its own and asks one question at a time, so
 * a slow answer holds up nobody else. A question is asked again over a new
 * connection until it is answered, its patience ends, or the process that waits
 * for it is killed: pods can be deleted while the server is away.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <nfsc/libnfs-zdr.h>
#include "server.h"

#define TICK 200     /* milliseconds between looks at the clock and at the caller */
#define CONNECT 3000 /* a connection attempt; the first packet may just be lost */
#define AGAIN (-ERESTART)

struct server server;

/* libnfs counts contexts and ports in plain static variables. */
static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
static __thread char said[256];

struct answer {
	const struct question *question;
	bool done;
	int error;
};

#define DEFINE_SEND(operation)                                                  \
	int send_##operation(struct rpc_context *rpc, rpc_cb cb, void *args,    \
			     void *private)                                     \
	{                                                                       \
		return rpc_nfs3_##operation##_async(rpc, cb, args, private);    \
	}
DEFINE_SEND(getattr)
DEFINE_SEND(setattr)
DEFINE_SEND(lookup)
DEFINE_SEND(access)
DEFINE_SEND(readlink)
DEFINE_SEND(read)
DEFINE_SEND(write)
DEFINE_SEND(create)
DEFINE_SEND(mkdir)
DEFINE_SEND(symlink)
DEFINE_SEND(mknod)
DEFINE_SEND(remove)
DEFINE_SEND(rmdir)
DEFINE_SEND(rename)
DEFINE_SEND(link)
DEFINE_SEND(readdirplus)
DEFINE_SEND(fsstat)
DEFINE_SEND(commit)

const char *trouble(void)
{
	return *said ? said : "no answer";
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* NFS numbers its errors like the first Unixes: only those up to 31 are Linux's too. */
static int errno_of(int status)
{
	static const struct { int status, error; } table[] = {
		{ NFS3ERR_NAMETOOLONG, ENAMETOOLONG }, { NFS3ERR_NOTEMPTY, ENOTEMPTY },
		{ NFS3ERR_DQUOT, EDQUOT },             { NFS3ERR_STALE, ESTALE },
		{ NFS3ERR_REMOTE, EREMOTE },           { NFS3ERR_BADHANDLE, ESTALE },
		{ NFS3ERR_NOTSUPP, EOPNOTSUPP },       { NFS3ERR_BADTYPE, EINVAL },
		{ NFS3ERR_JUKEBOX, ERESTART },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (table[i].status == status)
			return -table[i].error;
	return status > 0 && status <= 31 ? -status : -EIO;
}

/* Whether somebody sent SIGKILL to the thread that waits: the kernel lists it as pending. */
static bool killed(pid_t pid)
{
	char path[64], line[128];
	unsigned long long pending = 0, bits;
	FILE *file;

	if (!pid)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "SigPnd: %llx", &bits) == 1 ||
		    sscanf(line, "ShdPnd: %llx", &bits) == 1)
			pending |= bits;
	fclose(file);
	return pending & (1ULL << (9 - 1));
}

/* 0 as long as there is reason to wait, else what to tell the caller. */
static int given_up(const struct caller *who, int64_t deadline)
{
	if (now() >= deadline)
		return -EIO;
	return killed(who->pid) ? -EINTR : 0;
}

/* libnfs calls this with the answer, or with the end of the connection. */
static void on_answer(struct rpc_context *rpc, int status, void *data, void *private)
{
	struct answer *answer = private;
	const struct question *q = answer->question;

	(void)rpc;
	answer->done = true;
	if (status != RPC_STATUS_SUCCESS) {
		answer->error = AGAIN;
		return;
	}
	/* Every result begins with its status, and is libnfs' own after this. */
	answer->error = *(int *)data ? errno_of(*(int *)data) : 0;
	if (!answer->error && q->take)
		q->take(data, q->into);
}

static void on_connected(struct rpc_context *rpc, int status, void *data, void *private)
{
	struct answer *answer = private;

	(void)rpc;
	(void)data;
	answer->done = true;
	answer->error = status == RPC_STATUS_SUCCESS ? 0 : AGAIN;
}

/* Let libnfs work until `answer` is there. */
static int wait_for(struct link *link, const struct caller *who, int64_t deadline,
		    const struct answer *answer)
{
	int64_t look = now() + TICK;

	while (!answer->done) {
		struct pollfd wanted = {
			.fd = rpc_get_fd(link->rpc),
			.events = rpc_which_events(link->rpc),
		};
		int ready = wanted.fd < 0 ? -1 : poll(&wanted, 1, TICK);

		/* libnfs would say of both the one that explains nothing. */
		if (wanted.revents & POLLERR)
			wanted.revents &= ~POLLHUP;
		if (ready < 0 && errno != EINTR)
			return AGAIN;
		if (ready > 0 && rpc_service(link->rpc, wanted.revents) < 0 && !answer->done)
			return AGAIN;
		if (now() >= look) {
			int error = given_up(who, deadline);

			if (error)
				return error;
			look = now() + TICK;
		}
	}
	return answer->error;
}

/* Notice within 20 s that the machine at the other end is gone, even if nothing is sent. */
static void watch_peer(int fd)
{
	const struct { int level, option, value; } settings[] = {
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },      { IPPROTO_TCP, TCP_NODELAY, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 5 },     { IPPROTO_TCP, TCP_KEEPINTVL, 5 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 3 },      { IPPROTO_TCP, TCP_USER_TIMEOUT, 20000 },
	};

	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++)
		setsockopt(fd, settings[i].level, settings[i].option, &settings[i].value,
			   sizeof(settings[i].value));
}

void close_link(struct link *link)
{
	if (!link->rpc)
		return;
	if (rpc_get_error(link->rpc)) {
		const char *words = rpc_get_error(link->rpc), *after = strstr(words, "socket error ");

		snprintf(said, sizeof(said), "%s", after ? after + strlen("socket error ") : words);
		if (*said && said[strlen(said) - 1] == '.')
			said[strlen(said) - 1] = '\0';
	}
	rpc_destroy_context(link->rpc);
	link->rpc = NULL;
}

/* A server that went away while nothing was asked has left an end of file. */
static bool still_open(struct link *link)
{
	struct pollfd idle = { .fd = rpc_get_fd(link->rpc), .events = POLLIN };

	return poll(&idle, 1, 0) == 0;
}

static int open_link(struct link *link, const struct caller *who, int64_t deadline)
{
	struct answer answer = { 0 };
	int64_t until = now() + CONNECT;
	int error;

	if (link->rpc && still_open(link))
		return 0;
	close_link(link);
	pthread_mutex_lock(&making);
	link->rpc = rpc_init_context();
	if (!link->rpc)
		error = -ENOMEM;
	else if (link->port)
		error = rpc_connect_async(link->rpc, server.name, link->port, on_connected,
					  &answer);
	else
		error = rpc_connect_program_async(link->rpc, server.name, link->program,
						  link->version, on_connected, &answer);
	pthread_mutex_unlock(&making);
	if (!error)
		error = wait_for(link, who, until < deadline ? until : deadline, &answer);
	if (!error) {
		watch_peer(rpc_get_fd(link->rpc));
		return 0;
	}
	if (error == -EIO)
		snprintf(said, sizeof(said), "no answer to a connection attempt");
	close_link(link);
	return error == -EINTR || error == -ENOMEM ? error : AGAIN;
}

static int exchange(struct link *link, const struct caller *who, struct question *q,
		    int64_t deadline)
{
	struct answer answer = { .question = q };
	struct AUTH *auth = libnfs_authunix_create("mount.nfs", who->uid, who->gid, who->count,
						   (uint32_t *)who->groups);
	int error;

	if (!auth)
		return -ENOMEM;
	rpc_set_auth(link->rpc, auth);
	if (q->send(link->rpc, on_answer, q->args, &answer))
		return -ENOMEM;
	error = wait_for(link, who, deadline, &answer);
	/* Nobody is there any more for an answer that still comes. */
	if (!answer.done || error == AGAIN)
		close_link(link);
	return error;
}

int ask_over(struct link *link, const struct caller *who, struct question *q)
{
	int64_t deadline = q->patience ? now() + q->patience : INT64_MAX;

	for (;;) {
		int error = open_link(link, who, deadline);

		if (!error) {
			error = exchange(link, who, q, deadline);
			if (error != AGAIN)
				return error;
			q->repeated = true;
		}
		if (error != AGAIN)
			return error;
		error = given_up(who, deadline);
		if (error)
			return error;
		poll(NULL, 0, TICK / 2);
	}
}

int ask(const struct caller *who, struct question *q)
{
	static __thread struct link link = { .program = NFS_PROGRAM, .version = NFS_V3 };

	link.port = server.port;
	if (!q->patience)
		q->patience = server.patience;
	return ask_over(&link, who, q);
}
