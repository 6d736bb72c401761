// A C program that uses the shared library, and can have its own handler of
// SIGBUS:
//
//	host LIBRARY none         no handler
//	host LIBRARY before       installed before the library is loaded
//	host LIBRARY between      installed before the first region is watched
//	host LIBRARY after        installed after it, ends the process
//	host LIBRARY after-chain  installed after it, calls the former handler
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct sigaction former;
static int chain;
static volatile int calls;
static sigjmp_buf back;
static volatile int jump;

static void handler(int sig, siginfo_t *info, void *context) {
	calls++;
	if (jump)
		siglongjmp(back, 1);
	if (chain && (former.sa_flags & SA_SIGINFO)) {
		former.sa_sigaction(sig, info, context);
		return;
	}
	printf("the host's handler ends the process\n");
	_exit(7);
}

static void install(void) {
	struct sigaction act;
	memset(&act, 0, sizeof act);
	act.sa_sigaction = handler;
	act.sa_flags = SA_SIGINFO | SA_ONSTACK;
	sigaction(SIGBUS, &act, &former);
}

static int installed(void) {
	struct sigaction act;
	sigaction(SIGBUS, 0, &act);
	return act.sa_sigaction == handler;
}

static int file(size_t n) {
	int fd = memfd_create("fault", 0);
	if (fd < 0 || ftruncate(fd, n) != 0)
		abort();
	return fd;
}

static void cut(int fd) {
	if (ftruncate(fd, 0) != 0)
		abort();
}

static volatile char *mem;
static long page;

static void *reader(void *unused) { return (void *)(long)mem[2 * page]; }

int main(int argc, char **argv) {
	setvbuf(stdout, 0, _IONBF, 0);
	page = sysconf(_SC_PAGESIZE);
	const char *mode = argv[2];
	int late = strncmp(mode, "after", 5) == 0;
	int own = strcmp(mode, "none") != 0;
	chain = strcmp(mode, "after-chain") == 0;
	if (strcmp(mode, "before") == 0)
		install();
	void *library = dlopen(argv[1], RTLD_NOW);
	if (!library) {
		puts(dlerror());
		return 1;
	}
	void *(*Watch)(int, int) = (void *(*)(int, int))dlsym(library, "Watch");
	int (*Trapped)(void) = (int (*)(void))dlsym(library, "Trapped");
	int (*WouldTrap)(void) = (int (*)(void))dlsym(library, "WouldTrap");
	int (*Read)(int) = (int (*)(int))dlsym(library, "Read");
	int (*State)(void) = (int (*)(void))dlsym(library, "State");
	if (strcmp(mode, "between") == 0)
		install();
	int fd = file(4 * page);
	mem = Watch(fd, 4 * page);
	printf("trapped: %d\n", Trapped());
	if (late) {
		install();
		printf("later: %d\n", WouldTrap());
	}
	printf("host's: %d\n", installed());
	if (Trapped()) {
		cut(fd);
		printf("Go read: %d\n", Read(3 * page));
		pthread_t t;
		void *read;
		pthread_create(&t, 0, reader, 0);
		pthread_join(t, &read);
		printf("C read: %ld, state: %d, calls: %d\n", (long)read, State(), calls);
	}

	// Memory that belongs to the host.
	int fd2 = file(page);
	volatile char *q = mmap(0, page, PROT_READ, MAP_SHARED, fd2, 0);
	cut(fd2);
	calls = 0;
	jump = 1;
	if (!own || sigsetjmp(back, 1) == 0) {
		(void)q[1];
		puts("the access went on");
	}
	printf("own: %d\n", calls);
	return 0;
}
