/*
 * The files that the kernel knows of, by their handles on the server.
 *
 * Writes are sent as UNSTABLE: the server may keep them in memory until a
 * COMMIT. Each answer carries a number that changes when the server starts
 * anew. What was written since the last COMMIT is kept here, and written again
 * if that number has changed: then an fsync that returns 0 holds what it says.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nodes.h"

#define BUCKETS 4096
#define UNSAFE_MAX (32 << 20) /* per file; more is committed at once */

struct node root = { .lookups = 1, .lock = PTHREAD_MUTEX_INITIALIZER, .end = &root.unsafe };

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct node *table[BUCKETS];
static unsigned int open_files;

nfs_fh3 fh_of(struct handle *handle)
{
	nfs_fh3 fh = { .data = { .data_len = handle->length, .data_val = handle->bytes } };

	return fh;
}

bool take_handle(const nfs_fh3 *from, struct handle *into)
{
	if (from->data.data_len > sizeof(into->bytes))
		return false;
	into->length = from->data.data_len;
	memcpy(into->bytes, from->data.data_val, into->length);
	return true;
}

static struct node **bucket_of(const struct handle *handle)
{
	uint32_t hash = 2166136261u;

	for (unsigned int i = 0; i < handle->length; i++)
		hash = (hash ^ (unsigned char)handle->bytes[i]) * 16777619u;
	return &table[hash % BUCKETS];
}

/* With table_lock held. */
static struct node *find(const struct handle *handle)
{
	struct node *node = *bucket_of(handle);

	while (node && (node->handle.length != handle->length ||
			memcmp(node->handle.bytes, handle->bytes, handle->length)))
		node = node->next;
	return node;
}

struct node *node_get(const struct handle *handle)
{
	struct node *node;

	if (handle->length == root.handle.length &&
	    !memcmp(handle->bytes, root.handle.bytes, handle->length))
		return &root;
	pthread_mutex_lock(&table_lock);
	node = find(handle);
	if (!node) {
		node = calloc(1, sizeof(*node));
		if (node) {
			struct node **bucket = bucket_of(handle);

			node->handle = *handle;
			node->end = &node->unsafe;
			pthread_mutex_init(&node->lock, NULL);
			node->next = *bucket;
			*bucket = node;
		}
	}
	if (node)
		node->lookups++;
	pthread_mutex_unlock(&table_lock);
	return node;
}

static void drop_unsafe(struct node *node)
{
	while (node->unsafe) {
		struct unsafe *first = node->unsafe;

		node->unsafe = first->next;
		free(first);
	}
	node->end = &node->unsafe;
	node->unsafe_bytes = 0;
}

void node_forget(struct node *node, uint64_t lookups)
{
	struct node **at;

	if (node == &root)
		return;
	pthread_mutex_lock(&table_lock);
	node->lookups -= lookups;
	if (!node->lookups) {
		for (at = bucket_of(&node->handle); *at != node; at = &(*at)->next)
			;
		*at = node->next;
		drop_unsafe(node);
		free(node->hidden);
		pthread_mutex_destroy(&node->lock);
		free(node);
	}
	pthread_mutex_unlock(&table_lock);
}

bool any_open(void)
{
	bool any;

	pthread_mutex_lock(&table_lock);
	any = open_files > 0;
	pthread_mutex_unlock(&table_lock);
	return any;
}

bool node_is_open(const struct handle *handle)
{
	struct node *node;
	bool open;

	pthread_mutex_lock(&table_lock);
	node = find(handle);
	open = node && node->opens && !node->hidden;
	pthread_mutex_unlock(&table_lock);
	return open;
}

bool node_hide(const struct handle *handle, const struct hidden *hidden)
{
	struct hidden *copy = malloc(sizeof(*copy));
	struct node *node;
	bool hide;

	if (!copy)
		return false;
	*copy = *hidden;
	pthread_mutex_lock(&table_lock);
	node = find(handle);
	hide = node && node->opens && !node->hidden;
	if (hide)
		node->hidden = copy;
	pthread_mutex_unlock(&table_lock);
	if (!hide)
		free(copy);
	return hide;
}

void node_opened(struct node *node)
{
	pthread_mutex_lock(&table_lock);
	node->opens++;
	open_files++;
	pthread_mutex_unlock(&table_lock);
}

struct hidden *node_closed(struct node *node)
{
	struct hidden *hidden = NULL;

	bool last;

	pthread_mutex_lock(&table_lock);
	open_files--;
	last = !--node->opens;
	if (last) {
		hidden = node->hidden;
		node->hidden = NULL;
	}
	pthread_mutex_unlock(&table_lock);
	/* Whoever never asked for an fsync was promised nothing. */
	pthread_mutex_lock(&node->lock);
	if (last)
		drop_unsafe(node);
	pthread_mutex_unlock(&node->lock);
	return hidden;
}

static void take_write(const void *result, void *into)
{
	*(WRITE3resok *)into = ((const WRITE3res *)result)->WRITE3res_u.resok;
}

/* The server may take less than it is given. */
static int write_once(struct node *node, const struct caller *who, uint64_t offset,
		      const char *data, uint32_t size, stable_how stable, WRITE3resok *done)
{
	WRITE3args args = {
		.file = fh_of(&node->handle),
		.offset = offset,
		.count = size,
		.stable = stable,
		.data = { .data_len = size, .data_val = (char *)data },
	};
	struct question q = {
		.send = SEND(write), .args = &args, .take = take_write, .into = done
	};
	int error = ask(who, &q);

	if (!error && (!done->count || done->count > size))
		return -EIO;
	return error;
}

/* With node->lock held. */
static int remember(struct node *node, uint64_t offset, const char *data, const WRITE3resok *done)
{
	struct unsafe *one = malloc(sizeof(*one) + done->count);

	if (!one)
		return -ENOMEM;
	one->next = NULL;
	one->offset = offset;
	one->size = done->count;
	memcpy(one->boot, done->verf, sizeof(one->boot));
	memcpy(one->data, data, done->count);
	*node->end = one;
	node->end = &one->next;
	node->unsafe_bytes += done->count;
	return 0;
}

static void take_commit(const void *result, void *into)
{
	memcpy(into, ((const COMMIT3res *)result)->COMMIT3res_u.resok.verf, sizeof(writeverf3));
}

static int write_again(struct node *node, const struct caller *who, const struct unsafe *one)
{
	uint32_t written = 0;

	while (written < one->size) {
		WRITE3resok done;
		int error = write_once(node, who, one->offset + written, one->data + written,
				       one->size - written, FILE_SYNC, &done);

		if (error)
			return error;
		written += done.count;
	}
	return 0;
}

/* With node->lock held. */
static int commit(struct node *node, const struct caller *who)
{
	COMMIT3args args = { .file = fh_of(&node->handle) };
	writeverf3 boot;
	struct question q = {
		.send = SEND(commit), .args = &args, .take = take_commit, .into = boot
	};
	int error = ask(who, &q);

	for (struct unsafe *one = node->unsafe; one && !error; one = one->next)
		if (memcmp(one->boot, boot, sizeof(boot)))
			error = write_again(node, who, one);
	if (!error)
		drop_unsafe(node);
	return error;
}

int node_commit(struct node *node, const struct caller *who)
{
	int error;

	pthread_mutex_lock(&node->lock);
	error = commit(node, who);
	pthread_mutex_unlock(&node->lock);
	return error;
}

int node_settle(struct node *node, const struct caller *who)
{
	int error;

	pthread_mutex_lock(&node->lock);
	error = node->unsafe ? commit(node, who) : 0;
	pthread_mutex_unlock(&node->lock);
	return error;
}

int node_write(struct node *node, const struct caller *who, uint64_t offset, const char *data,
	       uint32_t size)
{
	uint32_t written = 0;
	int error = 0;

	while (written < size && !error) {
		WRITE3resok done;

		error = write_once(node, who, offset + written, data + written, size - written,
				   UNSTABLE, &done);
		if (error)
			break;
		pthread_mutex_lock(&node->lock);
		if (done.committed == UNSTABLE)
			error = remember(node, offset + written, data + written, &done);
		if (node->unsafe_bytes > UNSAFE_MAX)
			error = commit(node, who);
		pthread_mutex_unlock(&node->lock);
		written += done.count;
	}
	return error ? error : (int)written;
}
