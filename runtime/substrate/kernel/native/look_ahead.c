/* look-ahead: reads the directories of layers before the walk over them asks (filesystem/lookahead.py).
 *
 *     look-ahead UPPERS PREFIX ROOT_FD...     paths, each with its NUL, on standard input
 *
 * The roots are the levels of a merged tree, the topmost first, of which UPPERS are listed; PREFIX is
 * that of the overlay's own attributes. The last path is the first to be read, then what is below
 * it, the last entry first, as the walk goes. For each directory one record goes to standard output:
 * what every level has there, and of each file in the uppers the status, and that of what the levels
 * below show first under its name. It decides nothing: what it could not read, or leaves out because
 * it is too much, the walk reads itself.
 *
 * The trees are a payload's: every step is one name that is not followed if it is a link, all sizes
 * are checked, and a filter leaves only the calls that read directories.
 */
#include "machine.h"

enum { MOST_LEVELS = 64, DEEPEST = 32, MOST_ENTRIES = 1000, LONGEST_NAMES = 4096, LONGEST_PATH = 8192 };
enum { ARENA = 64 << 20, LARGEST_RECORD = 1 << 20 };
/* Bytes at which it is written: soon at first, for the walk waits. And never more records: when
 * nobody reads any more, the next write is its end. */
enum { FLUSH_FIRST = 4096, FLUSH_LAST = 8192, FLUSH_RECORDS = 100 };
/* How far a record may have grown when something is added to it. */
enum { FULL = LARGEST_RECORD - 2 * (LONGEST_NAMES + 512) };
enum { ENOENT_ = 2, UNKNOWN = 5, EOVERFLOW_ = 75, ENOTSUP_ = 95 };
/* In a record a time is in nanoseconds, which leads to the year 2255. */
static const i64 MOST_SECONDS = 9000000000;
/* In the place of a descriptor: nothing is there; and what is there has to be looked at again. */
enum { ABSENT = -1, UNSEEN = -2 };
enum { NO_HIT = 255, UNSEEN_HIT = 254, UNLISTED = -1 };
/* O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC|O_NONBLOCK */
enum { OPEN_DIRECTORY = O_DIRECTORY_ | O_NOFOLLOW_ | 02000000 | 04000 };
enum { S_IFMT_ = 0170000, S_IFDIR_ = 0040000, DT_UNKNOWN = 0, DT_DIR = 4 };

struct moment {
	i64 seconds;
	u32 nanoseconds, reserved;
};

/* struct statx of include/uapi/linux/stat.h */
struct found {
	u32 mask, blksize;
	u64 attributes;
	u32 nlink, uid, gid;
	u16 mode, spare;
	u64 ino, size, blocks, attributes_mask;
	struct moment atime, btime, ctime, mtime;
	u32 rdev_major, rdev_minor, dev_major, dev_minor;
	u64 more[14];
};

struct entry {
	u64 ino, offset;
	u16 size;
	u8 type;
	char name[];
};

static u8 out[FLUSH_LAST + LARGEST_RECORD] __attribute__((aligned(8)));
static u32 used, begun, records, flush_at = FLUSH_FIRST;
static i32 roots[MOST_LEVELS], open_fds[DEEPEST][MOST_LEVELS];
static int levels, uppers, depth;
static char path[LONGEST_PATH];
static u32 ends[DEEPEST]; /* where in `path` the name of each open directory ends */
static char *pending;
static u64 pending_size;
static const char *prefix;

static u32 length(const char *text)
{
	u32 size = 0;
	while (text[size])
		size++;
	return size;
}

static void copy(void *to, const void *from, u32 size)
{
	for (u32 i = 0; i < size; i++)
		((u8 *)to)[i] = ((const u8 *)from)[i];
}

static void flush(void)
{
	for (u32 done = 0; done < used;) {
		i64 wrote = call(SYS_write, 1, (u64)(out + done), used - done, 0, 0, 0);
		if (wrote <= 0)
			leave(1);
		done += wrote;
	}
	used = records = 0;
	flush_at = flush_at < FLUSH_LAST / 2 ? flush_at * 2 : FLUSH_LAST;
}

static void pad(void)
{
	while (used & 7)
		out[used++] = 0;
}

static u64 device(u64 major, u64 minor)
{
	return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xffUL) << 12 | (major & ~0xfffUL) << 32;
}

/* In the order of os.stat_result, whose times are there three times. */
static void put_status(const struct found *it)
{
	i64 *word = (i64 *)(out + used);
	*word++ = it->mode;
	*word++ = it->ino;
	*word++ = device(it->dev_major, it->dev_minor);
	*word++ = it->nlink;
	*word++ = it->uid;
	*word++ = it->gid;
	*word++ = it->size;
	for (int again = 0; again < 2; again++) {
		*word++ = it->atime.seconds;
		*word++ = it->mtime.seconds;
		*word++ = it->ctime.seconds;
	}
	*word++ = it->atime.seconds * 1000000000 + it->atime.nanoseconds;
	*word++ = it->mtime.seconds * 1000000000 + it->mtime.nanoseconds;
	*word++ = it->ctime.seconds * 1000000000 + it->ctime.nanoseconds;
	*word++ = it->blksize;
	*word++ = it->blocks;
	*word++ = device(it->rdev_major, it->rdev_minor);
	used = (u8 *)word - out;
}

static int is_told(i64 seconds)
{
	return -MOST_SECONDS < seconds && seconds < MOST_SECONDS;
}

/* As stat(2) does; what is beyond the numbers of a record is as what cannot be looked at. */
static i64 look(int fd, const char *name, struct found *it)
{
	/* AT_SYMLINK_NOFOLLOW|AT_NO_AUTOMOUNT|AT_EMPTY_PATH, STATX_BASIC_STATS */
	i64 result = call(SYS_statx, fd, (u64)name, 0x1900, 0x7ff, (u64)it, 0);
	if (result == 0 && ((i64)it->ino < 0 || !is_told(it->atime.seconds) ||
			    !is_told(it->mtime.seconds) || !is_told(it->ctime.seconds)))
		return -EOVERFLOW_;
	return result;
}

/* Whether a name lies over nothing, or over something of another name: no more levels then. */
static int leads_away(int fd, const char *names, u32 size)
{
	u32 start = length(prefix);
	for (u32 i = 0; i < size; i += length(names + i) + 1) {
		const char *name = names + i;
		u32 same = 0;
		char value = 0;
		while (same < start && name[same] == prefix[same])
			same++;
		if (same < start)
			continue;
		if (name[start] == 'r' && name[start + 1] == 'e' && name[start + 2] == 'd')
			return 1;
		if (name[start] == 'o' && name[start + 1] == 'p' &&
		    call(SYS_fgetxattr, fd, (u64)name, (u64)&value, 1, 0, 0) == 1 && value == 'y')
			return 1;
	}
	return 0;
}

/* Add what one level has, `fd` or why it has none; return what is to be known of it further down. */
static i32 put_level(i32 fd, int *stop)
{
	i32 *state = (i32 *)(out + used);
	struct found it;
	state[0] = fd == ABSENT ? ENOENT_ : UNKNOWN;
	state[1] = 0;
	used += 8;
	if (fd < 0 || used - begun > FULL || look(fd, "", &it) < 0)
		return fd;
	u32 start = used;
	put_status(&it);
	char *names = (char *)out + used;
	i64 size = call(SYS_flistxattr, fd, (u64)names, LONGEST_NAMES, 0, 0, 0);
	if (size == -ENOTSUP_)
		size = 0;
	if (size < 0) {
		used = start;
		return fd;
	}
	state[0] = 0;
	state[1] = size;
	used += size;
	pad();
	*stop = size && leads_away(fd, names, size);
	return fd;
}

/* Open a name in all levels of the directory at `depth`; `last`: it is the one to tell about. */
static void enter(const char *name, int last)
{
	const i32 *parents = depth ? open_fds[depth - 1] : roots;
	int stop = 0;
	for (int level = 0; level < levels; level++) {
		i32 fd = stop ? UNSEEN : parents[level];
		if (fd >= 0) {
			fd = call(SYS_openat, fd, (u64)name, OPEN_DIRECTORY, 0, 0, 0);
			if (fd < 0)
				fd = fd == -ENOENT_ ? ABSENT : UNSEEN;
		}
		open_fds[depth][level] = last ? put_level(fd, &stop) : fd;
	}
	depth++;
}

static void close_below(int kept)
{
	while (depth > kept) {
		depth--;
		for (int level = 0; level < levels; level++)
			if (open_fds[depth][level] >= 0)
				call(SYS_close, open_fds[depth][level], 0, 0, 0, 0, 0);
	}
}

static void push(const char *name, u32 size)
{
	u32 above = ends[depth - 1];
	if (pending_size + above + size + 2 > ARENA || above + size + 2 > LONGEST_PATH)
		return;
	copy(pending + pending_size, path, above);
	pending[pending_size + above] = '/';
	copy(pending + pending_size + above + 1, name, size + 1);
	pending_size += above + size + 2;
}

/* Add the status of what the levels below show first under a name; return the level. */
static u8 put_hit(const char *name)
{
	struct found it;
	for (int level = uppers; level < levels; level++) {
		i32 fd = open_fds[depth - 1][level];
		i64 result = fd >= 0 ? look(fd, name, &it) : -ENOENT_;
		if (result == 0) {
			put_status(&it);
			return level;
		}
		if (result != -ENOENT_)
			return UNSEEN_HIT;
	}
	return NO_HIT;
}

/* Whether a level above has the name too: then it is read for that one, if it is a directory there.
 * All is told nevertheless: redirects may put other levels above this one than those of its path. */
static int is_covered(int level, const char *name)
{
	struct found it;
	while (level-- > 0)
		if (open_fds[depth - 1][level] >= 0 && look(open_fds[depth - 1][level], name, &it) == 0)
			return 1;
	return 0;
}

/* Add one entry of an upper and return how many that makes; -1 when it cannot be told. */
static int put_entry(int level, const struct entry *entry, int told)
{
	const char *name = entry->name;
	u32 size = length(name), start = used;
	struct found it;
	it.mode = S_IFDIR_;
	if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])))
		return 0;
	if (entry->type != DT_DIR && told) {
		i64 result = look(open_fds[depth - 1][level], name, &it);
		if (result == -ENOENT_)
			return 0;
		if (result < 0)
			return -1;
	}
	int is_folder = (it.mode & S_IFMT_) == S_IFDIR_ && (told || entry->type == DT_DIR);
	if (is_folder && !is_covered(level, name))
		push(name, size);
	if (!told)
		return 0;
	u8 *head = out + used;
	copy(head, &size, 4);
	used += 8;
	if (!is_folder)
		put_status(&it);
	head[4] = is_folder;
	head[5] = is_folder ? NO_HIT : put_hit(name);
	head[6] = head[7] = 0;
	copy(out + used, name, size);
	used += size;
	pad();
	if (used - begun <= FULL)
		return 1;
	used = start;
	return -1;
}

static void put_listing(i32 fd, int level)
{
	static u64 buffer[4096];
	i32 *count = (i32 *)(out + used), found = 0;
	i64 size = 0;
	used += 8;
	u32 start = used;
	count[1] = 0;
	while (fd >= 0 && (size = call(SYS_getdents64, fd, (u64)buffer, sizeof buffer, 0, 0, 0)) > 0) {
		for (u8 *at = (u8 *)buffer; at < (u8 *)buffer + size; at += ((struct entry *)at)->size) {
			int more = put_entry(level, (struct entry *)at, found >= 0);
			if (more < 0 || found >= MOST_ENTRIES)
				found = UNLISTED;
			else if (found >= 0)
				found += more;
		}
	}
	if (size < 0 || fd == UNSEEN)
		found = UNLISTED;
	if (found < 0)
		used = start;
	*count = found;
}

/* Close what is not above the path at `wanted`, open what is; return 0 when it is too deep. */
static int go_to(const char *wanted)
{
	u32 size = length(wanted), at = 0;
	int kept = 0;
	while (kept < depth && ends[kept] < size && wanted[ends[kept]] == '/') {
		u32 same = at;
		while (same < ends[kept] && wanted[same] == path[same])
			same++;
		if (same < ends[kept])
			break;
		at = ends[kept++];
	}
	close_below(kept);
	copy(path, wanted, size + 1);
	for (u32 start = kept ? at + 1 : 0, end = start; ; end++) {
		if (path[end] && path[end] != '/')
			continue;
		if (depth == DEEPEST)
			return 0;
		int last = !path[end];
		path[end] = 0;
		ends[depth] = end;
		enter(path + start, last);
		if (last)
			return 1;
		path[end] = '/';
		start = end + 1;
	}
}

static void tell(const char *wanted)
{
	u32 size = length(wanted);
	begun = used;
	u32 *head = (u32 *)(out + used);
	used += 8;
	copy(out + used, wanted, size);
	used += size;
	pad();
	int found = go_to(wanted), stop = 0;
	for (int level = 0; level < levels && !found; level++)
		put_level(UNSEEN, &stop);
	for (int level = 0; level < uppers; level++)
		put_listing(found ? open_fds[depth - 1][level] : UNSEEN, level);
	head[0] = used - begun;
	head[1] = size;
	if (used >= flush_at || ++records == FLUSH_RECORDS)
		flush();
}

/* Only what reads directories, which are opened with these flags and no others. */
static void confine(void)
{
	static const struct { u16 code; u8 yes, no; u32 k; } filter[] = {
		{ 0x20, 0, 0, 4 }, { 0x15, 0, 12, AUDIT_ARCH }, { 0x20, 0, 0, 0 },
		{ 0x15, 9, 0, SYS_statx }, { 0x15, 8, 0, SYS_close }, { 0x15, 7, 0, SYS_getdents64 },
		{ 0x15, 6, 0, SYS_flistxattr }, { 0x15, 5, 0, SYS_fgetxattr }, { 0x15, 4, 0, SYS_write },
		{ 0x15, 3, 0, SYS_exit_group }, { 0x15, 0, 3, SYS_openat },
		{ 0x20, 0, 0, 32 }, { 0x15, 0, 1, OPEN_DIRECTORY },
		{ 0x06, 0, 0, 0x7fff0000 }, { 0x06, 0, 0, 0x80000000 }, /* ALLOW, KILL_PROCESS */
	};
	const struct { u64 length, filter; } program = { 15, (u64)filter };
	if (call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0) ||
	    call(SYS_prctl, PR_SET_SECCOMP, 2, (u64)&program, 0, 0, 0))
		leave(1);
}

/* Whether it is shown the overlay's attributes as the walk is: without CAP_SYS_ADMIN, which an
 * execve(2) may have taken from it, there seem to be none under `trusted.`. */
static int sees_attributes(void)
{
	const u32 header[2] = { 0x20080522, 0 }; /* _LINUX_CAPABILITY_VERSION_3, itself */
	u32 sets[6];                             /* effective, permitted, inheritable, twice */
	return prefix[0] != 't' ||
	       (call(SYS_capget, (u64)header, (u64)sets, 0, 0, 0, 0) == 0 && sets[0] & 1 << 21);
}

void begin(u64 *stack)
{
	char **argv = (char **)(stack + 1);
	if (stack[0] < 4 || stack[0] - 3 > MOST_LEVELS)
		leave(2);
	uppers = number(argv[1]);
	prefix = argv[2];
	for (levels = 0; argv[3 + levels]; levels++)
		roots[levels] = number(argv[3 + levels]);
	if (!sees_attributes())
		leave(1);
	/* PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE */
	i64 at = call(SYS_mmap, 0, ARENA, 3, 0x4022, -1, 0), size;
	if (at < 0 && at > -4096)
		leave(1);
	pending = (char *)at;
	while ((size = call(SYS_read, 0, at + pending_size, ARENA - pending_size, 0, 0, 0)) > 0)
		pending_size += size;
	/* Of what is too much for it, no half of a path. */
	while (pending_size && pending[pending_size - 1])
		pending_size--;
	confine();
	while (pending_size) {
		static char wanted[LONGEST_PATH];
		u64 start = pending_size - 1;
		while (start && pending[start - 1])
			start--;
		u64 size = pending_size - start;
		pending_size = start;
		if (size > 1 && size <= LONGEST_PATH) {
			copy(wanted, pending + start, size);
			tell(wanted);
		}
	}
	flush();
	leave(0);
}
