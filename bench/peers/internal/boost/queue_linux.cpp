#include "queue_linux.h"

#include <boost/interprocess/ipc/message_queue.hpp>
#include <cstdio>

using boost::interprocess::message_queue;
namespace ipc = boost::interprocess;

template <typename F> static bool run(char *error, size_t n, F f) {
	try {
		f();
		return true;
	} catch (const std::exception &e) {
		std::snprintf(error, n, "%s", e.what());
		return false;
	}
}

void *queue_open(const char *name, size_t depth, size_t size, int *created, char *error, size_t n) {
	message_queue *q = nullptr;
	*created = 0;
	run(error, n, [&] {
		try {
			q = new message_queue(ipc::create_only, name, depth, size, ipc::permissions(0600));
			*created = 1;
		} catch (const ipc::interprocess_exception &e) {
			if (e.get_error_code() != ipc::already_exists_error)
				throw;
			q = new message_queue(ipc::open_only, name);
		}
	});
	return q;
}

int queue_send(void *q, const void *message, size_t size, char *error, size_t n) {
	return run(error, n, [&] { static_cast<message_queue *>(q)->send(message, size, 0); });
}

int queue_receive(void *q, void *message, size_t *size, char *error, size_t n) {
	return run(error, n, [&] {
		message_queue::size_type got;
		unsigned priority;
		static_cast<message_queue *>(q)->receive(message, *size, got, priority);
		*size = got;
	});
}

void queue_close(void *q) { delete static_cast<message_queue *>(q); }

int queue_remove(const char *name) { return message_queue::remove(name); }
