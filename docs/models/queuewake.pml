/*
 * Wake-ups at an event count, of which a queue has two: internal/notify (EventCount), internal/park (Event), queue
 * (Send, Done, Return, Shut). Here receivers wait for messages. Senders wait for room in the same way. A comment that
 * quotes Go stands at the statement that models it.
 *
 * The ring is abstract, as queue.pml has its steps: a number of messages are free, a number are held by live receivers,
 * and a number by dead ones. Memory is sequentially consistent here. Only one goroutine of each handle waits.
 */

#ifndef SENDS
#define SENDS 2   /* messages */
#endif
#ifndef R
#define R 2       /* receivers */
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef RETURNS
#define RETURNS 0
#endif
#ifndef GIVEUPS
#define GIVEUPS 0 /* waits that a context ends */
#endif

bit flag;
bool same[3];             /* the sequence number is what the receiver has loaded: it does not wrap */
byte free, orphaned, held; /* messages */
bool shut;
bool asleep[3];            /* the kernel's view */

/* Only for the assertions. */
byte sent, deaths, returns, giveups;
bool due[5];     /* live, has made a change, and has not woken a waiter for it yet */
bool seeks[3];   /* is about to look, or sleeps */
bool brief[3];   /* sleeps only for a short while */
bool woken[3];   /* live, was woken, and has not passed that on yet */
bool excused[3]; /* while it slept, or was about to, a process died that was due or woken: the limit ends the sleep */

#if R == 3
#define ANY(x) (x(0) || x(1) || x(2))
#else
#define ANY(x) (x(0) || x(1))
#endif
#define DUE(i) due[i]
#define ASLEEP(i) asleep[i]
#define AWAKE(i) (seeks[i] && !asleep[i])
#define BRIEF(i) (asleep[i] && brief[i])
#define SURE(i) (asleep[i] && !excused[i])
#define EXCUSE(i) excused[i] = excused[i] || asleep[i] || seeks[i]
#define RAISE same[0] = false; same[1] = false; same[2] = false /* e.Seq.Add(1) */
#define IDLE (free + orphaned + held == 0)
#define ENDED (shut && IDLE)

/* Between any two accesses to shared data a process continues or is killed. */
#if DEATHS > 0
#define OR_DIE :: atomic { deaths < DEATHS -> deaths++; goto dead }; fi
#else
#define OR_DIE fi
#endif

inline wake_one() { /* e.Queue.Wake(): any one sleeper */
	if
	:: asleep[0] -> asleep[0] = false; woken[0] = true; excused[0] = false
	:: asleep[1] -> asleep[1] = false; woken[1] = true; excused[1] = false
#if R == 3
	:: asleep[2] -> asleep[2] = false; woken[2] = true; excused[2] = false
#endif
	:: !ANY(ASLEEP)
	fi
}

inline signal(me) { /* if e.Flag.Load() != 0 && e.Flag.Swap(0) != 0 { e.Pass() } */
	if
	:: atomic { flag == 0 -> due[me] = false }
	:: flag != 0 ->
#ifdef MUTANT_FLAG_CLEARED_LATE
		if
		:: atomic { true -> RAISE }
		OR_DIE;
		if
		:: atomic { true -> wake_one() }
		OR_DIE;
		if
		:: atomic { true -> flag = 0; due[me] = false }
		OR_DIE
#else
		if
		:: atomic { flag != 0 -> flag = 0 }
		:: atomic { flag == 0 -> due[me] = false }
		OR_DIE;
		if
		:: due[me] ->
#ifndef MUTANT_SEQUENCE_STAYS
			if
			:: atomic { true -> RAISE }
			OR_DIE;
#endif
			if
			:: atomic { true -> wake_one(); due[me] = false }
			OR_DIE
		:: !due[me]
		fi
#endif
	OR_DIE
}

proctype sender(byte me) {
again:
	if
	:: atomic { sent < SENDS -> sent++; free++; due[me] = true }  /* r.Send */
	:: atomic { sent == SENDS && !shut -> shut = true; due[me] = true } /* r.Shut */
	:: atomic { shut -> goto fin }
	fi;
	signal(me);
	goto again;
#if DEATHS > 0
dead:
	atomic {
		if
		:: due[me] -> EXCUSE(0); EXCUSE(1); EXCUSE(2)
		:: else
		fi;
		due[me] = false; goto again
	};
#endif
fin:
	skip
}

proctype receiver(byte id) {
	bool have, ended, set;
again:
	if /* w.look */
	:: atomic { free > 0 -> free--; held++; have = true; goto got }
#if DEATHS > 0
	:: atomic { free == 0 && orphaned > 0 -> orphaned--; held++; have = true; goto got }
#endif
	:: atomic { ENDED -> goto fin }
	:: atomic { free + orphaned == 0 && !ENDED -> seeks[id] = true }
	fi;
wait: /* doSleep */
#ifndef MUTANT_FLAG_BEFORE_SEQUENCE
	if
	:: same[id] = true /* seq := w.event.Seq.Load() */
	OR_DIE;
#endif
#ifdef MUTANT_FLAG_SET_ONCE
	if
	:: set
	:: atomic { !set -> flag = 1; set = true }
	fi;
#else
	if
	:: flag = 1
	OR_DIE;
#endif
#ifdef MUTANT_FLAG_BEFORE_SEQUENCE
	if
	:: same[id] = true /* seq := w.event.Seq.Load() */
	OR_DIE;
#endif
	if /* w.found = w.ready() */
	:: atomic { free > 0 -> free--; held++; have = true; seeks[id] = false; due[id] = true; goto leave }
#if DEATHS > 0
	:: atomic { free == 0 && orphaned > 0 -> orphaned--; held++; have = true; seeks[id] = false; due[id] = true; goto leave }
#endif
	:: atomic { ENDED -> ended = true; seeks[id] = false; due[id] = true; goto leave }
#ifdef MUTANT_LIMIT_LONG
	:: atomic { free + orphaned == 0 && !ENDED -> brief[id] = false }
#else
	:: atomic { free + orphaned == 0 && !ENDED -> brief[id] = !IDLE } /* w.limit() */
#endif
	OR_DIE;
#ifdef MUTANT_SEQUENCE_AFTER_LOOK
	same[id] = true;
#endif
	if /* w.event.Queue.Wait(seq, w.limit()): the kernel's look and sleep */
	:: atomic { same[id] -> asleep[id] = true; woken[id] = false }
	:: !same[id] -> goto wait
	OR_DIE;
	if
	:: !asleep[id] -> goto wait
#if DEATHS > 0
	:: atomic { asleep[id] && (excused[id] || brief[id] && orphaned > 0) -> asleep[id] = false; excused[id] = false; goto wait } /* its limit */
#endif
#if GIVEUPS > 0
	:: atomic { giveups < GIVEUPS -> giveups++; asleep[id] = false; seeks[id] = false; due[id] = true; goto leave } /* its context */
#endif
	OR_DIE;
leave: /* defer w.use(w.pass) */
#ifdef MUTANT_TAKER_PASSES_NOTHING
	if
	:: atomic { have -> due[id] = false; goto got }
	:: !have
	fi;
#endif
#ifdef MUTANT_GIVES_UP_WITHOUT_PASSING
	if
	:: atomic { !have && !ended -> due[id] = false; woken[id] = false; goto again }
	:: have || ended
	fi;
#endif
#ifdef MUTANT_PASSES_IF_FREE
	if
	:: atomic { have && free == 0 -> due[id] = false; goto got }
	:: !have || free > 0
	fi;
#endif
	if
	:: atomic { true -> RAISE }
	OR_DIE;
	if
	:: atomic { true -> wake_one(); due[id] = false; woken[id] = false }
	OR_DIE;
	if
	:: have
	:: ended -> goto fin
#if GIVEUPS > 0
	:: !have && !ended -> goto again
#endif
	fi;
got:
	atomic { woken[id] = false; same[id] = false; brief[id] = false };
	if
	:: atomic { held--; have = false; due[id] = ENDED } /* Done: if q.ring.Ended() { q.messages.Signal() } */
#ifdef MUTANT_LAST_DONE_SILENT
		due[id] = false
#endif
#if RETURNS > 0
	:: atomic { returns < RETURNS -> returns++; held--; free++; have = false; due[id] = true } /* Return */
#ifdef MUTANT_RETURN_SILENT
		due[id] = false
#endif
#endif
	OR_DIE;
	if
	:: due[id] -> signal(id)
	:: !due[id]
	fi;
	goto again;
#if DEATHS > 0
dead: /* its messages stay its own, and another receiver follows */
	atomic {
		if
		:: have -> held--; orphaned++; have = false
		:: else
		fi;
		asleep[id] = false;
		if
		:: due[id] || woken[id] -> EXCUSE(0); EXCUSE(1); EXCUSE(2)
		:: else
		fi;
		due[id] = false; woken[id] = false; seeks[id] = false; excused[id] = false; brief[id] = false;
		same[id] = false; set = false; ended = false;
		goto again
	};
#endif
fin:
	atomic { asleep[id] = false; seeks[id] = false; woken[id] = false; same[id] = false }
}

/* No process sleeps while there is something for it and no live process will wake it. */
active proctype monitor() {
end_never:
	atomic {
		!ANY(DUE) && !due[3] && !due[4] && !ANY(AWAKE) && ANY(SURE) &&
		(free > 0 || orphaned > 0 && !ANY(BRIEF) || ENDED) ->
		assert(false) /* asleep beside a message */
	}
}

init {
	atomic {
		run sender(3); run sender(4); run receiver(0); run receiver(1);
#if R == 3
		run receiver(2)
#endif
	}
}
