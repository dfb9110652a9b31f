/*
 * Directories, listed in pieces: names with their attributes in one question.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "names.h"

/* What the server is asked for at once: bytes of names, and of everything. */
#define NAMES (32 << 10)
#define PIECE (256 << 10)

struct entry {
	struct found found;
	uint64_t cookie; /* where the listing goes on after it */
	char *name;
};

/* An open directory, and the piece of it that was read last. */
struct listing {
	struct caller who;
	cookieverf3 verifier;
	struct entry *entries;
	size_t count, next;
	uint64_t at; /* the cookie before `next` */
	bool end, failed;
};

static void drop_piece(struct listing *listing)
{
	for (size_t i = 0; i < listing->count; i++)
		free(listing->entries[i].name);
	free(listing->entries);
	listing->entries = NULL;
	listing->count = listing->next = 0;
}

static void take_piece(const void *result, void *into)
{
	const READDIRPLUS3resok *ok = &((const READDIRPLUS3res *)result)->READDIRPLUS3res_u.resok;
	struct listing *listing = into;
	size_t count = 0;

	memcpy(listing->verifier, ok->cookieverf, sizeof(listing->verifier));
	listing->end = ok->reply.eof;
	for (const entryplus3 *it = ok->reply.entries; it; it = it->nextentry)
		count++;
	listing->entries = calloc(count + 1, sizeof(*listing->entries));
	if (!listing->entries) {
		listing->failed = true;
		return;
	}
	for (const entryplus3 *it = ok->reply.entries; it; it = it->nextentry) {
		struct entry *entry = &listing->entries[listing->count];

		entry->name = strdup(it->name);
		if (!entry->name) {
			listing->failed = true;
			return;
		}
		entry->cookie = it->cookie;
		take_found(&it->name_handle, &it->name_attributes, &entry->found);
		entry->found.attributes.st_ino = it->fileid;
		listing->count++;
	}
}

static int read_piece(struct listing *listing, struct node *dir)
{
	READDIRPLUS3args args = {
		.dir = fh_of(&dir->handle), .cookie = listing->at, .dircount = NAMES,
		.maxcount = PIECE,
	};
	struct question q = {
		.send = SEND(readdirplus), .args = &args, .take = take_piece, .into = listing
	};
	int error;

	drop_piece(listing);
	if (listing->at)
		memcpy(args.cookieverf, listing->verifier, sizeof(args.cookieverf));
	error = ask(&listing->who, &q);
	if (!error && listing->failed)
		error = -ENOMEM;
	listing->failed = false;
	return error;
}

/* Add one entry; the bytes that it took, or 0 if it did not fit. */
static size_t add(fuse_req_t req, char *buffer, size_t room, const struct entry *entry)
{
	struct fuse_entry_param param = { .attr = entry->found.attributes };
	bool known = entry->found.has_handle && entry->found.has_attributes &&
		     strcmp(entry->name, ".") && strcmp(entry->name, "..");
	size_t taken;

	if (known && make_entry(&entry->found, &param))
		known = false;
	taken = fuse_add_direntry_plus(req, buffer, room, entry->name, &param, entry->cookie);
	if (taken <= room)
		return taken;
	if (known)
		node_forget(node_of(param.ino), 1);
	return 0;
}

void do_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct listing *listing = calloc(1, sizeof(*listing));

	(void)ino;
	if (!listing) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	listing->who = caller_of(req);
	fi->fh = (uintptr_t)listing;
	if (fuse_reply_open(req, fi))
		free(listing);
}

void do_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		    struct fuse_file_info *fi)
{
	struct listing *listing = (struct listing *)(uintptr_t)fi->fh;
	char *buffer = malloc(size);
	size_t used = 0, taken = 1;
	int error = buffer ? 0 : -ENOMEM;

	listing->who.pid = fuse_req_ctx(req)->pid;
	if ((uint64_t)offset != listing->at || !offset) {
		/* Somebody goes back, or begins: what was read before may be old. */
		drop_piece(listing);
		listing->at = offset;
		listing->end = false;
	}
	if (!error && listing->next == listing->count && !listing->end)
		error = read_piece(listing, node_of(ino));
	while (!error && taken && listing->next < listing->count) {
		const struct entry *entry = &listing->entries[listing->next];

		taken = add(req, buffer + used, size - used, entry);
		if (taken) {
			used += taken;
			listing->at = entry->cookie;
			listing->next++;
		}
	}
	if (error)
		fuse_reply_err(req, -error);
	else
		fuse_reply_buf(req, buffer, used);
	free(buffer);
}

void do_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct listing *listing = (struct listing *)(uintptr_t)fi->fh;

	(void)ino;
	drop_piece(listing);
	free(listing);
	fuse_reply_err(req, 0);
}
