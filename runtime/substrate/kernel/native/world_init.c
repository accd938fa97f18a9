/* world-init: runs a plan of system calls, then is the payload or the init that reaps for it.
 *
 * Built without libc and started from a sealed memfd, so nothing of the host is reachable through
 * /proc/PID/exe (CVE-2019-5736) and a parked world costs a few pages. It is started as
 *     world-init PLAN_FD FD...
 * with every descriptor above 2 that it may keep, PLAN_FD among them, in ascending order,
 * and reads the image that `kernel/plan.py` encodes. It decides nothing: which calls are made, and
 * in which order, is data. Failures go to the descriptor in the plan's report cell as one message
 * {tag, value}; see `kernel/messages.py`.
 */
#include "machine.h"

enum { MAGIC = 0x53554253, VERSION = 1 };
enum { KIND_WORD, KIND_POINTER, KIND_CELL };
enum {
	EXPECT = 1 << 16, LEAVE = 1 << 17, REAP = 1 << 18,
	IDLE = 1 << 19, TRY = 1 << 20, FAIL = 1 << 21, JUMP = 1 << 22, RESET = 1 << 23,
};
enum { EACCES_ = 13, EINTR_ = 4, ECHILD_ = 10, EPROTO_ = 71, ANY_ERROR = -1 };
enum { TAG_ERROR = 0x21525245, TAG_PID = 0x20444950 }; /* "ERR!", "PID " */

struct header {
	u32 magic, version, ops, relocations, ops_at, relocations_at, arena_at, arena_size;
	u32 start, report_cell, reserved[2];
};

struct op {
	i32 number;
	u32 flags;
	i32 store;
	u16 skip, step;
	i32 expect, ignore[3];
	u64 args[6];
} __attribute__((packed));

struct message {
	u32 tag;
	i32 value;
};

static void report(int fd, u32 tag, i32 value)
{
	struct message message = { tag, value };
	call(SYS_write, fd, (u64)&message, sizeof message, 0, 0, 0);
}

/* Default action for every signal, none blocked: Python leaves SIGPIPE and SIGXFSZ ignored, glibc's
 * posix_spawn two of its own, and the caller may have been started by nohup. */
static void reset_signals(void)
{
	u64 action[4] = { 0 }, none = 0;
	for (int signal = 1; signal <= 64; signal++)
		call(SYS_rt_sigaction, signal, (u64)action, 0, 8, 0, 0);
	call(SYS_rt_sigprocmask, 2, (u64)&none, 0, 8, 0, 0);
}

/* Where pid 1 runs as the payload's own user and is traceable (no rootless runtime could enter its
 * namespaces otherwise), the payload can take it over. That gains it nothing: whatever filter the
 * payload is under, in here only the calls of reap() are left, and prctl(PR_SET_DUMPABLE). */
static void confine(int dumpable)
{
	static const struct { u16 code; u8 yes, no; u32 k; } filter[] = {
		{ 0x20, 0, 0, 4 }, { 0x15, 0, 9, AUDIT_ARCH }, { 0x20, 0, 0, 0 },
		{ 0x15, 6, 0, SYS_wait4 }, { 0x15, 5, 0, SYS_rt_sigtimedwait },
		{ 0x15, 4, 0, SYS_kill }, { 0x15, 3, 0, SYS_exit_group },
		{ 0x15, 0, 3, SYS_prctl }, { 0x20, 0, 0, 16 }, { 0x15, 0, 1, PR_SET_DUMPABLE },
		{ 0x06, 0, 0, 0x7fff0000 }, { 0x06, 0, 0, 0x00050001 }, /* ALLOW, ERRNO|EPERM */
	};
	const struct { u64 length, filter; } program = { 12, (u64)filter };
	call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);
	if (call(SYS_prctl, PR_SET_SECCOMP, 2, (u64)&program, 0, 0, 0) == 0)
		call(SYS_prctl, PR_SET_DUMPABLE, dumpable, 0, 0, 0, 0);
}

/* Forward what is sent to pid 1, collect whoever dies, end with the child's status.
 * As pid 1 of its namespace, its end is the end of the world. Without a child of its own (child 0)
 * it waits to be killed from outside. */
static void reap(int child, int dumpable)
{
	u64 all = ~0UL;
	/* Blocked signals are queued even for pid 1 with default actions; see sig_ignored(). */
	call(SYS_rt_sigprocmask, 0, (u64)&all, 0, 8, 0, 0);
	/* As it was started by a descriptor's path, its name would be that descriptor's number. */
	call(SYS_prctl, 15, (u64)"world-init", 0, 0, 0, 0);
	/* Not one descriptor of the runtime outlives this point in pid 1, standard ones included. */
	call(SYS_close_range, 0, ~0U, 0, 0, 0, 0);
	confine(dumpable);
	for (;;) {
		int status = 0;
		i64 pid;
		while ((pid = call(SYS_wait4, -1, (u64)&status, 1, 0, 0, 0)) > 0) {
			if (pid == child)
				leave(status & 0x7f ? 128 + (status & 0x7f) : (status >> 8) & 0xff);
		}
		i32 info[32] = { 0 };
		i64 signal = call(SYS_rt_sigtimedwait, (u64)&all, (u64)info, 0, 8, 0, 0);
		/* As from a terminal, an interrupt is for the whole group: the child leads it, but for
		 * the moment before its setsid(). */
		if (signal > 0 && signal != 17 && child > 0 &&
		    ((signal != 2 && signal != 3) || call(SYS_kill, -child, signal, 0, 0, 0, 0) < 0))
			call(SYS_kill, child, signal, 0, 0, 0, 0);
		/* si_pid: 0 is whoever is outside. What is inside cannot end the world so. */
		if (signal > 0 && child <= 0 && (signal == 2 || signal == 15) && info[4] == 0)
			leave(128 + signal);
	}
}

static int ignored(const struct op *op, i64 error)
{
	for (int i = 0; i < 3; i++)
		if (op->ignore[i] == ANY_ERROR || (op->ignore[i] && op->ignore[i] == error))
			return 1;
	return 0;
}

static i64 perform(const struct op *op, u8 *arena)
{
	u64 args[6];
	for (int i = 0; i < 6; i++) {
		u64 word = op->args[i];
		switch (op->flags >> (2 * i) & 3) {
		case KIND_POINTER: word = (u64)(arena + word); break;
		case KIND_CELL: word = (u64)(i64)*(i32 *)(arena + word); break;
		}
		args[i] = word;
	}
	i64 result;
	do /* a stray signal must not fail a world half-made */
		result = call(op->number, args[0], args[1], args[2], args[3], args[4], args[5]);
	while (result == -EINTR_);
	if (op->store && result >= 0)
		*(i32 *)(arena + op->store) = result;
	if (result >= 0 && op->flags & EXPECT && result != op->expect)
		return -EPROTO_;
	return result;
}

static void run(struct header *plan)
{
	u8 *image = (u8 *)plan, *arena = image + plan->arena_at;
	const struct op *ops = (const struct op *)(image + plan->ops_at);
	i64 remembered = 2, dumpable = 0; /* ENOENT */

	for (u32 i = plan->start; i < plan->ops; i++) {
		const struct op *op = ops + i;
		i64 result;
		if (op->flags & (IDLE | REAP)) {
			dumpable = call(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0, 0);
			/* Until it is confined; the payload's execve makes it traceable again. */
			call(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0, 0);
		}
		if (op->flags & IDLE)
			reap(0, dumpable);
		if (op->flags & RESET) {
			reset_signals();
			continue;
		}
		if (op->flags & JUMP) {
			i += op->skip;
			continue;
		}
		result = op->flags & FAIL ? -remembered : perform(op, arena);
		if (result > 0 && op->flags & LEAVE) {
			report(*(i32 *)(arena + plan->report_cell), TAG_PID, result);
			leave(0);
		}
		if (result > 0 && op->flags & REAP)
			reap(result, dumpable);
		if (result >= 0 || result < -4095)
			continue;
		if (op->flags & TRY) {
			if (result == -EACCES_ || remembered == 2)
				remembered = -result;
			continue;
		}
		if (ignored(op, -result)) {
			i += op->skip;
			continue;
		}
		report(*(i32 *)(arena + plan->report_cell), TAG_ERROR, (i32)(i << 12 | -result));
		leave(127);
	}
	leave(0);
}

/* Close what the runtime's own caller left open for us: a pipe of its would stay open for as long
 * as the world waits at its gate. `kept` are the descriptors to keep, in ascending order. */
static void close_others(char **kept)
{
	int last = 2;
	for (; *kept; kept++) {
		int fd = number(*kept);
		if (fd > last + 1)
			call(SYS_close_range, last + 1, fd - 1, 0, 0, 0, 0);
		if (fd > last)
			last = fd;
	}
	call(SYS_close_range, last + 1, ~0U, 0, 0, 0, 0);
}

void begin(u64 *stack)
{
	char **argv = (char **)(stack + 1);
	if (stack[0] < 2)
		leave(2);
	int fd = number(argv[1]);
	close_others(argv + 2);
	i64 size = call(SYS_lseek, fd, 0, 2, 0, 0, 0);
	/* PROT_READ|PROT_WRITE, MAP_PRIVATE: cells change in our copy only. */
	i64 at = call(SYS_mmap, 0, size, 3, 2, fd, 0);
	call(SYS_close, fd, 0, 0, 0, 0, 0);
	struct header *plan = (struct header *)at;
	if (at < 0 && at > -4096)
		leave(2);
	if (plan->magic != MAGIC || plan->version != VERSION)
		leave(2);
	u8 *image = (u8 *)at;
	const u32 *relocations = (const u32 *)(image + plan->relocations_at);
	for (u32 i = 0; i < plan->relocations; i++)
		*(u64 *)(image + plan->arena_at + relocations[i]) += (u64)(image + plan->arena_at);
	run(plan);
}
