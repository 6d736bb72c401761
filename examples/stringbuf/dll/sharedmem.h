/*
 * One string, shared by all processes that load this library.
 *
 * The string is UTF-16: wchar_t on Windows, elsewhere the char16_t of C11 or C++11. It is stored little-endian at the
 * start of a mapping of 4096 bytes, with a terminator and without a header. So any program that maps the same memory
 * can share it, such as the DLL of the sample from which these functions come. The mapping is Local\dllmemfilemap on
 * Windows and /dev/shm/dllmemfilemap on Linux. To use another name, set the environment variable SHAREDMEM_NAME for all
 * processes. A name has up to 200 of the characters A-Z a-z 0-9 . _ - and does not begin with a dot.
 *
 * The string is "" at first. It exists while at least one process that has loaded the library runs. FreeLibrary and
 * dlclose do not unload the library. On Linux the kernel does not count the processes: one that is killed, or exits
 * from a signal handler, leaves the string behind. The next process that uses the string removes it, if it exits
 * normally.
 *
 * Threads of one process can call at the same time. Processes can too, but they are not synchronised: that would need
 * room for a lock and the cooperation of the other programs. A Get during another process's Set can return parts of the
 * old string and of the new one. It never writes beyond its buffer.
 *
 * Do not call from DllMain or from a signal handler. On Linux, install signal handlers with SA_ONSTACK, as they can
 * interrupt a call on one of Go's stacks, which are small. A child process made by fork must exec a program before it
 * can call. Until then the string is unavailable to it.
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

#ifndef SHAREDMEM_API /* the library itself defines it as dllexport */
#define SHAREDMEM_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The longest string, in units of sharedmem_char, including its terminator. */
#define SHAREDMEM_ROOM 2048

enum sharedmem_status {
	SHAREDMEM_OK = 0,
	/* A pointer is null, or the memory ends before the text does, or the text begins with the bytes "sharedsg", which
	 * mark memory with the layout of a segment. Nothing was changed. */
	SHAREDMEM_INVALID = 1,
	/* The text and its terminator are longer than SHAREDMEM_ROOM. Nothing was changed. */
	SHAREDMEM_TOO_LARGE = 2,
	/* The string does not fit into the buffer. The buffer holds as much of its beginning as fits. */
	SHAREDMEM_TRUNCATED = 3,
	/* The memory could not be opened or used. The next call tries again. */
	SHAREDMEM_UNAVAILABLE = 4
};

/*
 * SetSharedMemStatus stores text as the string of all processes. It does not read beyond the terminator, and never more
 * than SHAREDMEM_ROOM units. It stores unpaired surrogates unchanged.
 *
 * It returns OK, INVALID, TOO_LARGE or UNAVAILABLE.
 */
SHAREDMEM_API int SHAREDMEM_CALL SetSharedMemStatus(const sharedmem_char *text);

/*
 * GetSharedMemStatus copies the string to buf, which has room for cch units. If cch is not 0, buf is always terminated,
 * whatever the status, and the units after the terminator are not touched. If cch is 0, nothing is written, and buf can
 * be null. A string that does not fit is cut, but never between the halves of a surrogate pair.
 *
 * If needed is not null, *needed is set to the size of the whole string in units, including the terminator, or to 0 if
 * that is unknown.
 *
 * It returns OK, INVALID, TRUNCATED or UNAVAILABLE.
 */
SHAREDMEM_API int SHAREDMEM_CALL GetSharedMemStatus(sharedmem_char *buf, sharedmem_size cch, sharedmem_size *needed);

/* The sample's functions, with its signatures. They do the same as the other two, but return no status. */
SHAREDMEM_API void SHAREDMEM_CALL SetSharedMem(sharedmem_char *text);
SHAREDMEM_API void SHAREDMEM_CALL GetSharedMem(sharedmem_char *buf, sharedmem_size cch);

#ifdef __cplusplus
}
#endif

#endif
