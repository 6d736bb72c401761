/*
 * Misuses the library. The argument selects the test: "arguments", "threads", "exit" (while threads are in calls),
 * "retry" (again after a line of input), "fork" and "signal" (not on Windows).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sharedmem.h"

#ifdef _WIN32
#include <windows.h>
#else
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#define BLOCK 65536 /* bytes, a multiple of the page size */
#define MARK 0xBEEF

static int failures;

#define CHECK(ok)                                                                                                              \
	do {                                                                                                                   \
		if (!(ok)) {                                                                                                   \
			printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #ok);                                                \
			failures++;                                                                                            \
		}                                                                                                              \
	} while (0)

/* Returns the end of a block of memory. Any access beyond it is a fault. */
static sharedmem_char *edge(void)
{
	static char *block;

	if (!block) {
#ifdef _WIN32
		DWORD old;

		block = VirtualAlloc(NULL, 2 * BLOCK, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
		if (!block || !VirtualProtect(block + BLOCK, BLOCK, PAGE_NOACCESS, &old))
			exit(3);
#else
		block = mmap(NULL, 2 * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (block == MAP_FAILED || mprotect(block + BLOCK, BLOCK, PROT_NONE) != 0)
			exit(3);
#endif
	}
	return (sharedmem_char *)(block + BLOCK);
}

/* Returns n units that end at the edge. */
static sharedmem_char *last(int n)
{
	for (int i = 0; i < n; i++)
		edge()[i - n] = 'a' + i % 26;
	return edge() - n;
}

/* Returns n units and a terminator that end at the edge. */
static sharedmem_char *text(int n)
{
	last(n + 1);
	edge()[-1] = 0;
	return edge() - n - 1;
}

/* Reports whether the string consists of these n units. */
static int is(const sharedmem_char *units, int n)
{
	static sharedmem_char buf[SHAREDMEM_ROOM + 1];
	sharedmem_size needed;

	return GetSharedMemStatus(buf, SHAREDMEM_ROOM + 1, &needed) == SHAREDMEM_OK && needed == (sharedmem_size)n + 1 &&
	       memcmp(buf, units, 2 * (size_t)n) == 0 && buf[n] == 0;
}

static void null(void)
{
	static const sharedmem_char old[] = {'o', 'l', 'd', 0};
	sharedmem_size needed = MARK;

	CHECK(is(old, 0));
	CHECK(SetSharedMemStatus(old) == SHAREDMEM_OK);
	CHECK(SetSharedMemStatus(NULL) == SHAREDMEM_INVALID);
	SetSharedMem(NULL);
	CHECK(is(old, 3));

	CHECK(GetSharedMemStatus(NULL, 10, &needed) == SHAREDMEM_INVALID && needed == 0);
	CHECK(GetSharedMemStatus(NULL, 10, NULL) == SHAREDMEM_INVALID);
	CHECK(GetSharedMemStatus(NULL, 0, &needed) == SHAREDMEM_TRUNCATED && needed == 4);
	CHECK(GetSharedMemStatus(NULL, 0, NULL) == SHAREDMEM_TRUNCATED);
	GetSharedMem(NULL, 10);
	GetSharedMem(NULL, 0);
	CHECK(is(old, 3));
}

/* Buffers of each size that end at the edge. The sample's function must do the same. */
static void buffers(void)
{
	static const sharedmem_char want[] = {'o', 'n', 'e', ' ', 't', 'w', 'o', 0};
	const int length = 7;
	static sharedmem_char big[3 * SHAREDMEM_ROOM];
	sharedmem_size needed;

	CHECK(SetSharedMemStatus(want) == SHAREDMEM_OK);
	for (int cch = 0; cch < 12; cch++) {
		int n = cch - 1 < length ? cch - 1 : length;

		for (int sample = 0; sample < 2; sample++) {
			sharedmem_char *buf = edge() - cch;

			for (int i = -2; i < cch; i++)
				buf[i] = MARK;
			if (sample) {
				GetSharedMem(buf, cch);
			} else {
				CHECK(GetSharedMemStatus(buf, cch, &needed) == (cch > length ? SHAREDMEM_OK : SHAREDMEM_TRUNCATED));
				CHECK(needed == (sharedmem_size)length + 1);
			}
			CHECK(buf[-1] == MARK && buf[-2] == MARK);
			if (cch > 0)
				CHECK(memcmp(buf, want, 2 * (size_t)n) == 0 && buf[n] == 0);
			for (int i = n + 1; i < cch; i++)
				CHECK(buf[i] == MARK);
		}
	}
	/* A size that is too large does no harm if the string fits. */
	CHECK(GetSharedMemStatus(big, 0xFFFFFFFF, NULL) == SHAREDMEM_OK && memcmp(big, want, sizeof want) == 0);
	CHECK(GetSharedMemStatus(big, 0x80000000, NULL) == SHAREDMEM_OK && memcmp(big, want, sizeof want) == 0);

	CHECK(SetSharedMemStatus(want + length) == SHAREDMEM_OK);
	CHECK(GetSharedMemStatus(big, 1, &needed) == SHAREDMEM_OK && needed == 1 && big[0] == 0);
}

/* Texts of many lengths, with and without a terminator, that end at the edge. */
static void lengths(void)
{
	static sharedmem_char old[SHAREDMEM_ROOM];

	for (int n = 0; n < 70; n++)
		CHECK(SetSharedMemStatus(text(n)) == SHAREDMEM_OK && is(text(n), n));
	for (int n = SHAREDMEM_ROOM - 3; n < SHAREDMEM_ROOM; n++)
		CHECK(SetSharedMemStatus(text(n)) == SHAREDMEM_OK && is(text(n), n));
	CHECK(is(memcpy(old, text(SHAREDMEM_ROOM - 1), sizeof old), SHAREDMEM_ROOM - 1));

	for (int n = SHAREDMEM_ROOM; n < BLOCK / 2; n += n < SHAREDMEM_ROOM + 5 ? 1 : 7001) {
		CHECK(SetSharedMemStatus(text(n)) == SHAREDMEM_TOO_LARGE);
		CHECK(SetSharedMemStatus(last(n)) == SHAREDMEM_TOO_LARGE);
		SetSharedMem(text(n));
		SetSharedMem(last(n));
		CHECK(is(old, SHAREDMEM_ROOM - 1));
	}
	for (int n = 0; n < SHAREDMEM_ROOM; n += n < 5 ? 1 : 97) {
		CHECK(SetSharedMemStatus(last(n)) == SHAREDMEM_INVALID);
		SetSharedMem(last(n));
		CHECK(is(old, SHAREDMEM_ROOM - 1));
	}
	CHECK(SetSharedMemStatus(text(0)) == SHAREDMEM_OK && is(old, 0));
}

static void surrogates(void)
{
	static const sharedmem_char broken[][5] = {
		{0xD83D, 0}, {0xDE00, 0}, {0xDE00, 0xD83D, 0}, {'a', 0xD83D, 0xD83D, 'b', 0}, {0xDE00, 'a', 0xDE00, 0xFFFF, 0},
	};
	static const sharedmem_char pair[] = {'a', 0xD83D, 0xDE00, 0};
	sharedmem_char buf[8] = {0};

	for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
		int n = 0;

		while (broken[i][n])
			n++;
		CHECK(SetSharedMemStatus(broken[i]) == SHAREDMEM_OK && is(broken[i], n));
	}
	CHECK(SetSharedMemStatus(broken[3]) == SHAREDMEM_OK);
	CHECK(GetSharedMemStatus(buf, 3, NULL) == SHAREDMEM_TRUNCATED && buf[1] == 0xD83D && buf[2] == 0);

	CHECK(SetSharedMemStatus(pair) == SHAREDMEM_OK);
	CHECK(GetSharedMemStatus(buf, 2, NULL) == SHAREDMEM_TRUNCATED && buf[0] == 'a' && buf[1] == 0);
	CHECK(GetSharedMemStatus(buf, 3, NULL) == SHAREDMEM_TRUNCATED && buf[0] == 'a' && buf[1] == 0);
	CHECK(GetSharedMemStatus(buf, 4, NULL) == SHAREDMEM_OK && memcmp(buf, pair, sizeof pair) == 0);
}

/* Sets a string of one letter, and checks that each string it gets is of one letter. */
static void one_thread(int letter, long rounds)
{
	sharedmem_char set[200], got[200];
	int length = 30 + 5 * (letter - 'a');

	for (int i = 0; i < length; i++)
		set[i] = letter;
	set[length] = 0;
	for (; rounds != 0; rounds--) {
		int n = 0;

		if (SetSharedMemStatus(set) != SHAREDMEM_OK || GetSharedMemStatus(got, 200, NULL) != SHAREDMEM_OK) {
			CHECK(rounds < 0); /* the process exits */
			return;
		}
		while (got[n] == got[0] && got[n])
			n++;
		if (n == 0 || got[n] || n != 30 + 5 * (got[0] - 'a')) {
			CHECK(!"a text mixes two threads");
			return;
		}
	}
}

static long rounds;

#ifdef _WIN32
typedef HANDLE thread;
static DWORD WINAPI run(void *letter)
{
	one_thread((int)(size_t)letter, rounds);
	return 0;
}
static thread start(int letter) { return CreateThread(NULL, 0, run, (void *)(size_t)letter, 0, NULL); }
static void join(thread t) { WaitForSingleObject(t, INFINITE); }
#else
typedef pthread_t thread;
static void *run(void *letter)
{
	one_thread((int)(size_t)letter, rounds);
	return NULL;
}
static thread start(int letter)
{
	pthread_t t;

	if (pthread_create(&t, NULL, run, (void *)(size_t)letter) != 0)
		exit(3);
	return t;
}
static void join(thread t) { pthread_join(t, NULL); }
#define Sleep(ms) usleep((ms) * 1000)
#endif

static void threads(long n, int wait)
{
	thread t[8];

	rounds = n;
	for (int i = 0; i < 8; i++)
		t[i] = start('a' + i);
	for (int i = 0; wait && i < 8; i++)
		join(t[i]);
}

static void retry(void)
{
	static sharedmem_char set[] = {'l', 'a', 't', 'e', 0};
	sharedmem_char got[8] = {MARK, MARK};
	sharedmem_size needed = MARK;

	CHECK(SetSharedMemStatus(set) == SHAREDMEM_UNAVAILABLE);
	CHECK(GetSharedMemStatus(got, 8, &needed) == SHAREDMEM_UNAVAILABLE && needed == 0);
	CHECK(got[0] == 0 && got[1] == MARK);
	got[0] = MARK;
	SetSharedMem(set);
	GetSharedMem(got, 8);
	CHECK(got[0] == 0 && got[1] == MARK);
	printf("unavailable\n");
	fflush(stdout);

	getchar();
	CHECK(is(set, 0));
	CHECK(SetSharedMemStatus(set) == SHAREDMEM_OK && is(set, 4));
}

#ifndef _WIN32

static void forks(void)
{
	static const sharedmem_char set[] = {'s', 'e', 't', 0}, late[] = {'l', 'a', 't', 'e', 0};
	int state;
	pid_t child;

	CHECK(SetSharedMemStatus(set) == SHAREDMEM_OK);
	child = fork();
	if (child == 0) {
		alarm(20);
		CHECK(SetSharedMemStatus(late) == SHAREDMEM_UNAVAILABLE && !is(set, 3));
		exit(failures);
	}
	CHECK(waitpid(child, &state, 0) == child && state == 0);
	CHECK(is(set, 3));
}

static void quit(int sig)
{
	(void)sig;
	exit(failures);
}

static void signals(void)
{
	struct sigaction action = {0};
	struct itimerval soon = {0};

	action.sa_handler = quit;
	action.sa_flags = SA_ONSTACK; /* Go's stacks are too small for a handler */
	soon.it_value.tv_usec = 1000 + getpid() % 100;
	sigaction(SIGALRM, &action, NULL);
	SetSharedMem(text(1000)); /* when this returns, the library is initialised */
	setitimer(ITIMER_REAL, &soon, NULL);
	for (;;)
		SetSharedMem(text(1000));
}

#endif

int main(int argc, char *argv[])
{
	const char *part = argc > 1 ? argv[1] : "";

	if (strcmp(part, "arguments") == 0) {
		null();
		buffers();
		lengths();
		surrogates();
	} else if (strcmp(part, "threads") == 0) {
		threads(2000, 1);
	} else if (strcmp(part, "exit") == 0) {
		threads(-1, 0);
		Sleep(20);
	} else if (strcmp(part, "retry") == 0) {
		retry();
#ifndef _WIN32
	} else if (strcmp(part, "fork") == 0) {
		forks();
	} else if (strcmp(part, "signal") == 0) {
		signals();
#endif
	} else {
		return 2;
	}
	return failures != 0;
}
