/*
 * Executes the lines of its input with the sample's two functions, from our library or from the sample's:
 *
 *	set HEX    sets the string of these units, four digits each; prints "ok"
 *	get N      gets the string with a buffer of N units; prints the units
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sharedmem.h"

int main(void)
{
	static char line[1 << 16];
	static sharedmem_char buf[1 << 14];

	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		char *arg = line + 4;

		if (strncmp(line, "set ", 4) == 0) {
			unsigned unit;
			int n = 0;

			for (; sscanf(arg, "%4x", &unit) == 1; arg += 4)
				buf[n++] = (sharedmem_char)unit;
			buf[n] = 0;
			SetSharedMem(buf);
			printf("ok\n");
		} else if (strncmp(line, "get ", 4) == 0) {
			GetSharedMem(buf, (sharedmem_size)atoi(arg));
			for (int i = 0; buf[i]; i++)
				printf("%04x", (unsigned)buf[i]);
			printf("\n");
		} else {
			return 2;
		}
		fflush(stdout);
	}
	return 0;
}
