//go:build linux && cgo && sharedseg_boost

#include <boost/interprocess/ipc/message_queue.hpp>

using namespace boost::interprocess;

extern "C" {

void *boost_mq_create(const char *name, size_t messages, size_t size) {
	try {
		return new message_queue(create_only, name, messages, size);
	} catch (interprocess_exception &) {
		return nullptr;
	}
}

void *boost_mq_open(const char *name) {
	try {
		return new message_queue(open_only, name);
	} catch (interprocess_exception &) {
		return nullptr;
	}
}

int boost_mq_send(void *q, const void *message, size_t size) {
	try {
		static_cast<message_queue *>(q)->send(message, size, 0);
		return 1;
	} catch (interprocess_exception &) {
		return 0;
	}
}

int boost_mq_receive(void *q, void *message, size_t size) {
	try {
		message_queue::size_type got;
		unsigned int priority;
		static_cast<message_queue *>(q)->receive(message, size, got, priority);
		return got == size;
	} catch (interprocess_exception &) {
		return 0;
	}
}

void boost_mq_close(void *q) { delete static_cast<message_queue *>(q); }

void boost_mq_remove(const char *name) { message_queue::remove(name); }
}
