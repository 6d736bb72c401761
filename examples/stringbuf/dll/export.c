//go:build cgo

// The functions that the library exports. They handle what Go cannot: null
// pointers, and forked processes, in which Go's threads are missing.

#ifdef _WIN32
#define SHAREDMEM_API __declspec(dllexport)
#endif
#include "sharedmem.h"
#include "_cgo_export.h"

_Static_assert(sizeof(sharedmem_char) == 2 && sizeof(sharedmem_size) == 4, "the sample's LPWSTR and DWORD");

static int enter(void);
static void leave(void);

SHAREDMEM_API int SHAREDMEM_CALL SetSharedMemStatus(const sharedmem_char *text)
{
	int status;

	if (text == NULL)
		return SHAREDMEM_INVALID;
	if (!enter())
		return SHAREDMEM_UNAVAILABLE;
	status = goSetSharedMem((sharedmem_char *)text);
	leave();
	return status;
}

SHAREDMEM_API int SHAREDMEM_CALL GetSharedMemStatus(sharedmem_char *buf, sharedmem_size cch, sharedmem_size *needed)
{
	sharedmem_size unwanted;
	int status;

	if (needed == NULL)
		needed = &unwanted;
	*needed = 0;
	if (buf == NULL && cch > 0)
		return SHAREDMEM_INVALID;
	if (cch > 0)
		*buf = 0;
	if (!enter())
		return SHAREDMEM_UNAVAILABLE;
	status = goGetSharedMem(buf, cch, needed);
	leave();
	return status;
}

SHAREDMEM_API void SHAREDMEM_CALL SetSharedMem(sharedmem_char *text) { SetSharedMemStatus(text); }

SHAREDMEM_API void SHAREDMEM_CALL GetSharedMem(sharedmem_char *buf, sharedmem_size cch)
{
	GetSharedMemStatus(buf, cch, NULL);
}

#ifdef _WIN32

#include <windows.h>

static int enter(void) { return 1; }
static void leave(void) {}

// FreeLibrary must not unmap the code that Go's threads run.
__attribute__((constructor)) static void stay(void)
{
	HMODULE self;

	GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, (LPCWSTR)&stay, &self);
}

#else

#include <pthread.h>
#include <signal.h>

static int forked;          // this process was forked: it has one thread, and none of Go's
static __thread int inside; // this thread is inside a call

static int enter(void)
{
	if (forked)
		return 0;
	inside = 1;
	return 1;
}

static void leave(void) { inside = 0; }

static void in_child(void) { forked = 1; }

__attribute__((constructor)) static void loaded(void) { pthread_atfork(NULL, NULL, in_child); }

// The kernel does not remove the name with its last user, so each process that
// exits checks whether it is the last one. A process that exits from a signal
// handler does not: the handler may have interrupted a call, or run on a stack
// that Go uses.
__attribute__((destructor)) static void exiting(void)
{
	stack_t stack;

	if (!forked && !inside && sigaltstack(NULL, &stack) == 0 && !(stack.ss_flags & SS_ONSTACK))
		goReleaseSharedMem();
}

#endif
