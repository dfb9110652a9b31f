/*
 * mount.nfs: NFS version 3 for kernels without a client of their own.
 *
 *     mount.nfs SERVER:/PATH DIRECTORY [-sfnv] [-o OPTION,...]
 *
 * mount(8) calls it for file systems of type nfs. It asks the server for the
 * directory, puts a FUSE file system there, and stays behind as the process
 * that answers for it. If that process ends, the directory answers ENOTCONN and
 * can be unmounted; `umount -f` ends the wait for a server that is away.
 *
 * Options: ro, nosuid, nodev, noexec, noatime; hard (waits for ever) or soft
 * (EIO after about timeo tenths of a second, retrans times); port, mountport.
 * Others are taken and ignored.
 *
 * server.c asks the server, nodes.c knows files and what the server has not yet
 * on its disk, names.c, listing.c, attributes.c and files.c are the operations.
 *
 * Limits:
 * - Locks are kept by this machine's kernel: a lock holds within one mount, not
 *   against other mounts, as with the option nolock.
 * - Eight questions wait for the server at a time; a ninth waits for one of them.
 * - The server is told 16 groups of a caller; AUTH_SYS has room for no more.
 * - For one second after a name was looked up it is found without asking the
 *   server again, by whoever asks. Opening a file always asks it.
 * - Two mounts that append to one file at the same moment may write over each
 *   other: the protocol has no such operation. Within one mount they take turns.
 * - A file that is open for appending cannot be mapped shared.
 * - What is unlinked while open lives on as .nfs…, until this mount closes it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>
#include "files.h"

#define THREADS 8
#define STEP_PATIENCE 4000 /* milliseconds for each of a mount's three questions at most */
#define MOUNTD_PORT 20048  /* assigned to it; rpcbind may know of another */
#define MOUNT_FAILED 32    /* exit statuses of mount(8) */
#define USAGE 1

struct options {
	char server[256];
	const char *source, *directory;
	char path[PATH_MAX];
	unsigned long flags;
	bool soft, fake;
	long timeo, retrans; /* tenths of a second, and how often */
	int port, mountport;
};

static bool number(const char *option, const char *name, long *into)
{
	size_t length = strlen(name);
	char *end;
	long value;

	if (strncmp(option, name, length) || option[length] != '=')
		return false;
	value = strtol(option + length + 1, &end, 10);
	if (*end || value < 0 || value > INT_MAX) {
		fprintf(stderr, "mount.nfs: %s: not a number; write %s=N\n", option, name);
		exit(USAGE);
	}
	*into = value;
	return true;
}

static void parse_option(const char *option, struct options *options)
{
	static const struct { const char *name; unsigned long set, clear; } flags[] = {
		{ "ro", MS_RDONLY, 0 },      { "rw", 0, MS_RDONLY },
		{ "nosuid", MS_NOSUID, 0 },  { "suid", 0, MS_NOSUID },
		{ "nodev", MS_NODEV, 0 },    { "dev", 0, MS_NODEV },
		{ "noexec", MS_NOEXEC, 0 },  { "exec", 0, MS_NOEXEC },
		{ "noatime", MS_NOATIME, 0 }, { "atime", 0, MS_NOATIME },
		{ "nodiratime", MS_NODIRATIME, 0 },
	};
	long value;

	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++)
		if (!strcmp(option, flags[i].name))
			options->flags = (options->flags & ~flags[i].clear) | flags[i].set;
	if (!strcmp(option, "soft") || !strcmp(option, "softerr"))
		options->soft = true;
	else if (!strcmp(option, "hard"))
		options->soft = false;
	else if (number(option, "port", &value))
		options->port = value;
	else if (number(option, "mountport", &value))
		options->mountport = value;
	else if (!number(option, "timeo", &options->timeo))
		number(option, "retrans", &options->retrans);
}

/* SERVER:/PATH, an IPv6 address in brackets. */
static bool parse_source(const char *source, struct options *options)
{
	const char *path = strstr(source, ":/");
	size_t length = path ? (size_t)(path - source) : 0;

	if (length > 1 && *source == '[' && source[length - 1] == ']') {
		source++;
		length -= 2;
	}
	if (!length || length >= sizeof(options->server) ||
	    strlen(path + 1) >= sizeof(options->path))
		return false;
	memcpy(options->server, source, length);
	strcpy(options->path, path + 1);
	return true;
}

static void parse(int argc, char **argv, struct options *options)
{
	int opt;

	while ((opt = getopt(argc, argv, "o:sfnvwr")) != -1) {
		if (opt == 'f')
			options->fake = true;
		else if (opt == 'r')
			options->flags |= MS_RDONLY;
		else if (opt == 'o')
			for (char *rest = optarg, *one; (one = strsep(&rest, ","));)
				parse_option(one, options);
	}
	if (argc - optind != 2 || !parse_source(argv[optind], options)) {
		fprintf(stderr, "usage: mount.nfs SERVER:/PATH DIRECTORY [-o OPTION,...]\n");
		exit(USAGE);
	}
	options->source = argv[optind];
	options->directory = argv[optind + 1];
	server.name = options->server;
	server.port = options->port;
	if (options->soft) {
		server.patience = options->timeo * options->retrans * 100;
		if (server.patience < 1000)
			server.patience = 1000;
	}
}

static int send_mnt(struct rpc_context *rpc, rpc_cb cb, void *path, void *private)
{
	return rpc_mount3_mnt_async(rpc, cb, path, private);
}

static void take_root(const void *result, void *into)
{
	const fhandle3 *from = &((const mountres3 *)result)->mountres3_u.mountinfo.fhandle;
	nfs_fh3 handle = {
		.data = { .data_len = from->fhandle3_len, .data_val = from->fhandle3_val }
	};

	take_handle(&handle, into);
}

/* For how long to wait for each of the answers that a mount takes. */
static long step_of(void)
{
	return server.patience && server.patience / 2 < STEP_PATIENCE ? server.patience / 2 :
									STEP_PATIENCE;
}

/* Where rpcbind knows nothing, or does not answer, mountd may still be where it belongs. */
static int ask_mountd(const struct caller *who, const struct options *options)
{
	struct link mountd = {
		.program = MOUNT_PROGRAM, .version = MOUNT_V3, .port = options->mountport
	};
	struct question mnt = {
		.send = send_mnt, .args = (void *)options->path, .take = take_root,
		.into = &root.handle, .patience = step_of(),
	};
	int error = ask_over(&mountd, who, &mnt);

	close_link(&mountd);
	if (error != -EIO || options->mountport)
		return error;
	mountd.port = MOUNTD_PORT;
	error = ask_over(&mountd, who, &mnt);
	close_link(&mountd);
	return error;
}

/* Whether NFS itself answers for the directory too. */
static int ask_nfsd(const struct caller *who, const struct options *options)
{
	struct link nfsd = {
		.program = NFS_PROGRAM, .version = NFS_V3, .port = options->port
	};
	GETATTR3args args = { .object = fh_of(&root.handle) };
	struct question getattr = {
		.send = SEND(getattr), .args = &args, .patience = step_of()
	};
	int error = ask_over(&nfsd, who, &getattr);

	close_link(&nfsd);
	return error;
}

static void find_root(const struct options *options)
{
	struct caller nobody_waits = { 0 };
	int error = ask_mountd(&nobody_waits, options);

	if (!error)
		error = root.handle.length ? ask_nfsd(&nobody_waits, options) : -EPROTO;
	if (!error)
		return;
	fprintf(stderr, "mount.nfs: mounting %s on %s: %s; ", options->source, options->directory,
		error == -EIO ? trouble() : strerror(-error));
	if (error == -EIO)
		fprintf(stderr, "the NFS server %s did not answer: see that it runs and that this "
			"machine reaches it\n", options->server);
	else
		fprintf(stderr, "the NFS server %s refused %s: see what it exports, and to whom\n",
			options->server, options->path);
	exit(MOUNT_FAILED);
}

static void set_up(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->max_write = conn->max_read = conn->max_readahead = CHUNK;
}

/* Put the file system on the directory: the kernel's questions come from the descriptor. */
static int attach(const struct options *options)
{
	char data[256];
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		fprintf(stderr, "mount.nfs: mounting %s on %s: /dev/fuse: %s; this kernel needs "
			"it, as it has no NFS client\n", options->source, options->directory,
			strerror(errno));
		exit(MOUNT_FAILED);
	}
	snprintf(data, sizeof(data),
		 "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,max_read=%d", fd, CHUNK);
	if (mount(options->source, options->directory, "fuse.nfs", options->flags, data)) {
		fprintf(stderr, "mount.nfs: mounting %s on %s: %s\n", options->source,
			options->directory, strerror(errno));
		exit(MOUNT_FAILED);
	}
	return fd;
}

static const struct fuse_lowlevel_ops operations = {
	.init = set_up,
	.lookup = do_lookup,
	.forget = do_forget,
	.getattr = do_getattr,
	.setattr = do_setattr,
	.access = do_access,
	.readlink = do_readlink,
	.mknod = do_mknod,
	.mkdir = do_mkdir,
	.unlink = do_unlink,
	.rmdir = do_rmdir,
	.symlink = do_symlink,
	.rename = do_rename,
	.link = do_link,
	.create = do_create,
	.open = do_open,
	.read = do_read,
	.write = do_write,
	.fsync = do_fsync,
	.release = do_release,
	.opendir = do_opendir,
	.readdirplus = do_readdirplus,
	.releasedir = do_releasedir,
	.fsyncdir = do_fsyncdir,
	.statfs = do_statfs,
};

/* Answer the kernel until the directory is unmounted. */
static int serve(int fd)
{
	/* It has to hear the same of max_read as the kernel did. */
	char place[32], most[32], *words[] = { "mount.nfs", most };
	struct fuse_args args = FUSE_ARGS_INIT(2, words);
	struct fuse_loop_config *config = fuse_loop_cfg_create();

	snprintf(most, sizeof(most), "-omax_read=%d", CHUNK);
	session = fuse_session_new(&args, &operations, sizeof(operations), NULL);
	snprintf(place, sizeof(place), "/dev/fd/%d", fd);
	if (!session || !config || fuse_session_mount(session, place))
		return MOUNT_FAILED;
	/* mount(8) waits for the end of the first process: from here on, it is mounted. */
	if (fuse_daemonize(0))
		return MOUNT_FAILED;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	/* Keep the memory of a large read or write for the next one. */
	mallopt(M_MMAP_THRESHOLD, 4 * CHUNK);
	mallopt(M_TRIM_THRESHOLD, 64 * CHUNK);
	fuse_loop_cfg_set_max_threads(config, THREADS);
	return fuse_session_loop_mt(session, config) ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct options options = { .timeo = 600, .retrans = 2, .port = 2049 };

	parse(argc, argv, &options);
	if (options.fake)
		return 0;
	find_root(&options);
	return serve(attach(&options));
}
