/*
 * The queue of waiters for the registry lock: internal/mapping (lock.go). A comment that quotes Go stands at the
 * statement that models it.
 *
 * There is one file. A handle takes its registry again and again, to open or to close. The kernel drops the locks of a
 * process that dies. The model leaves out that waiters pass a ticket whose holder does not take its turn, and the limit
 * of the wait: here every process continues or dies.
 */

#ifndef USES
#define USES 5 /* turns and deaths, in total */
#endif
#define HANDLES 3
#define TICKETS 6 /* 1 to 5 */

byte exclusive;          /* the holder of the registry byte: 1 + the handle */
byte shared;             /* how many handles share it */
byte held[TICKETS];      /* how many handles have that ticket */

/* Only for the assertions. */
bool waits[HANDLES];     /* has a ticket, and has not had its turn */
byte turns[9];           /* HANDLES*w + h: turns of h since w took its ticket */
bool calm;               /* from now on no process dies */
byte uses;

/* Between any two accesses to shared data a process continues or is killed. */
#define OR_DIE :: !calm -> goto dead; fi

#define FROM(n) (held[1] && 1 >= (n) || held[2] && 2 >= (n) || held[3] && 3 >= (n) || held[4] && 4 >= (n) || held[5] && 5 >= (n))
#define BELOW(n) (held[1] && 1 < (n) || held[2] && 2 < (n) || held[3] && 3 < (n) || held[4] && 4 < (n))

inline try_registry() { /* tryRegistry: F_RDLCK if the file is open for reading only, else F_WRLCK */
	atomic {
		if
		:: reads && exclusive == 0 -> shared++; has = true
		:: !reads && exclusive == 0 && shared == 0 -> exclusive = 1 + id; has = true
		:: else
		fi;
		if
		:: has ->
			waits[id] = false;
			w = 0;
			do
			:: w < HANDLES && waits[w] ->
				turns[HANDLES*w + id]++;
				assert(turns[HANDLES*w + id] <= 1); /* no handle has two turns while another waits with its ticket */
				w++
			:: w < HANDLES && !waits[w] -> w++
			:: w == HANDLES -> break
			od;
			w = 0
		:: else
		fi
	}
}

inline drop_ticket() {
	if
	:: ticketed -> held[ticket]--
	:: else
	fi;
	ticketed = false; ticket = 0
}

proctype handle(byte id) {
	byte ticket, w;
	bool reads, has, ticketed;
again:
	atomic {
		if
		:: uses == USES -> goto done
		:: uses < USES -> uses++; reads = false
		:: uses < USES -> uses++; reads = true
		fi
	};

#ifndef MUTANT_LOOKS_AT_NO_TICKET
	if /* lockRegistry: waited, err := o.taken(layout.QueueByte, layout.Tickets) */
	:: FROM(1) -> goto queue
	:: !FROM(1)
	OR_DIE;
#endif
	if
	:: try_registry()
	OR_DIE;
	if
	:: has -> goto turn
	:: !has -> goto queue
	:: !has -> atomic { uses--; goto again } /* the next look */
	fi;

queue:
	/* takeTicket: a handle has this ticket, or it is 0. The search goes in steps of one here. */
	do
	:: atomic { held[1] && ticket < 1 -> ticket = 1 }
	:: atomic { held[2] && ticket < 2 -> ticket = 2 }
	:: atomic { held[3] && ticket < 3 -> ticket = 3 }
	:: atomic { held[4] && ticket < 4 -> ticket = 4 }
	:: atomic { !FROM(ticket + 1) -> break }
#ifdef MUTANT_ANY_TICKET
	:: break
#endif
	:: !calm -> goto dead
	od;
	ticket++;
	if /* takeTicket: o.set(unix.F_RDLCK, layout.QueueByte+ticket) */
	:: atomic { true ->
		held[ticket]++; ticketed = true; waits[id] = true;
		turns[HANDLES*id] = 0; turns[HANDLES*id + 1] = 0; turns[HANDLES*id + 2] = 0 }
	OR_DIE;
wait:
#ifdef MUTANT_WAITS_FOR_TIES
	if
	:: !BELOW(ticket) && held[ticket] == 1
	OR_DIE;
#else
	if /* awaitTurn: at, lower, err = o.first(layout.QueueByte+passed+1, ticket-passed-1) */
	:: !BELOW(ticket)
	OR_DIE;
#endif
	if
	:: exclusive == 0 && (reads || shared == 0) -> try_registry()
	OR_DIE;
	if
	:: has
	:: !has -> goto wait
	fi;
#ifndef MUTANT_TICKET_KEPT
	if /* lockRegistry: defer o.set(unix.F_UNLCK, layout.QueueByte+ticket) */
	:: atomic { true -> drop_ticket() }
	OR_DIE;
#endif

turn:
	if /* UnlockRegistry */
	:: atomic { reads -> shared--; has = false; ticket = 0; goto again }
	:: atomic { !reads -> exclusive = 0; has = false; ticket = 0; goto again }
	OR_DIE;

dead:
	atomic {
		drop_ticket();
		if
		:: has && reads -> shared--
		:: has && !reads -> exclusive = 0
		:: else
		fi;
		has = false; waits[id] = false; w = 0;
		goto again
	};
done: skip
}

init {
	atomic { run handle(0); run handle(1); run handle(2) };
	calm = true
}
