/* The one function of Windows's bcryptprimitives.dll that Go programs need, for a Wine that has no such DLL. */

#include <windows.h>
#include <ntsecapi.h>

BOOL WINAPI DllMain(HINSTANCE self, DWORD reason, void *reserved)
{
	return TRUE;
}

__declspec(dllexport) BOOL WINAPI ProcessPrng(unsigned char *data, size_t size)
{
	while (size > 0) {
		ULONG n = size < 1 << 30 ? (ULONG)size : 1 << 30; /* RtlGenRandom's size has 32 bits */
		if (!RtlGenRandom(data, n))
			return FALSE;
		data += n;
		size -= n;
	}
	return TRUE;
}
