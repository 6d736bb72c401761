/*
 * One string that all processes share which load this library.
 *
 * The string is UTF-16: wchar_t on Windows, char16_t elsewhere, of C11 or C++11. It is at the start of a mapping of 4096
 * bytes, little-endian, with a terminator and without any header. So every program can take part that maps the same
 * memory, such as the DLL of the sample whose functions these are. The mapping is Local\dllmemfilemap on Windows and
 * /dev/shm/dllmemfilemap on Linux. To use another name, start all processes with it in the environment variable
 * SHAREDMEM_NAME: up to 200 of A-Z a-z 0-9 . _ - and no dot at the beginning.
 *
 * The string is there, "" at first, while at least one process lives that has loaded the library; FreeLibrary and
 * dlclose do not unload it. On Linux, where the kernel does not count them, a process that is killed, or exits from a
 * signal handler, leaves the string behind. The next one that uses it takes it away, if it exits as usual.
 *
 * Threads of one process may call at the same time. Processes may, too, but nothing synchronises them, as that would
 * take more than the string itself, and other programs' consent: a Get beside another process's Set can see some of the
 * old string and some of the new. It still stays within its buffer.
 *
 * Do not call from DllMain or from a signal handler. On Linux, signal handlers must be installed with SA_ONSTACK, as they
 * may interrupt a call on a stack of Go, which is small, and a child process made by fork has to exec a program before
 * it can call: until then the string is unavailable to it.
 */
#ifndef SHAREDMEM_H
#define SHAREDMEM_H

#ifdef _WIN32
#include <stddef.h>
#define SHAREDMEM_CALL __cdecl
#define SHAREDMEM_TEXT(literal) L##literal
typedef wchar_t sharedmem_char;       /* WCHAR */
typedef unsigned long sharedmem_size; /* DWORD */
#else
#include <stdint.h>
#include <uchar.h>
#define SHAREDMEM_CALL
#define SHAREDMEM_TEXT(literal) u##literal
typedef char16_t sharedmem_char;
typedef uint32_t sharedmem_size;
#endif

#ifndef SHAREDMEM_API /* the library itself says dllexport here */
#define SHAREDMEM_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The longest string, in units of sharedmem_char, its terminator included. */
#define SHAREDMEM_ROOM 2048

enum sharedmem_status {
	SHAREDMEM_OK = 0,
	/* A pointer is null, or memory ends before the text does. Or the text begins with the bytes "sharedsg", by which
	 * Go programs tell memory of another layout. Nothing was changed. */
	SHAREDMEM_INVALID = 1,
	/* The text and its terminator are longer than SHAREDMEM_ROOM. Nothing was changed. */
	SHAREDMEM_TOO_LARGE = 2,
	/* The buffer has no room for the whole string: it has as much of the beginning as fits. */
	SHAREDMEM_TRUNCATED = 3,
	/* The memory could not be opened or used. The next call tries again. */
	SHAREDMEM_UNAVAILABLE = 4
};

/*
 * SetSharedMemStatus makes text the string of all processes. It reads no further than the terminator, and never more
 * than SHAREDMEM_ROOM units. Surrogates that have lost their other half are taken as they are.
 *
 * OK, INVALID, TOO_LARGE, UNAVAILABLE.
 */
SHAREDMEM_API int SHAREDMEM_CALL SetSharedMemStatus(const sharedmem_char *text);

/*
 * GetSharedMemStatus puts the string into buf, which has room for cch units. If cch is not 0, buf is always terminated,
 * whatever the status, and what lies behind the terminator is not touched. If cch is 0, nothing is written, and buf may
 * be null. A string that does not fit is cut, but never between the halves of a surrogate pair.
 *
 * If needed is not null, *needed becomes the room that the whole string takes, terminator included; 0 if unknown.
 *
 * OK, INVALID, TRUNCATED, UNAVAILABLE.
 */
SHAREDMEM_API int SHAREDMEM_CALL GetSharedMemStatus(sharedmem_char *buf, sharedmem_size cch, sharedmem_size *needed);

/* The sample's functions, with its signatures. They do what the other two do, and do not say how it went. */
SHAREDMEM_API void SHAREDMEM_CALL SetSharedMem(sharedmem_char *text);
SHAREDMEM_API void SHAREDMEM_CALL GetSharedMem(sharedmem_char *buf, sharedmem_size cch);

#ifdef __cplusplus
}
#endif

#endif
