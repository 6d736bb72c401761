/* The parts of <windows.h> and <tchar.h> that the sample's sources need, also for other systems. */
#ifdef _WIN32

#include <windows.h>
#include <tchar.h>

#define TEXT16(s) L##s

#else

#include <stdint.h>
#include <uchar.h>

#define VOID void
#define __cdecl
#define __declspec(x)
#define MAX_PATH 260
#define TEXT16(s) u##s
typedef char16_t WCHAR, *LPWSTR;
typedef uint32_t DWORD;

#endif
