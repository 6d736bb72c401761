// The message queue of Boost.Interprocess, as C functions.
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// A function that fails returns NULL or 0, and a text in error.

// queue_open creates the queue of that name, or opens it if it exists.
void *queue_open(const char *name, size_t depth, size_t size, int *created, char *error, size_t n);
int queue_send(void *q, const void *message, size_t size, char *error, size_t n);
// queue_receive sets *size to the size of the message.
int queue_receive(void *q, void *message, size_t *size, char *error, size_t n);
void queue_close(void *q);
int queue_remove(const char *name);

#ifdef __cplusplus
}
#endif
