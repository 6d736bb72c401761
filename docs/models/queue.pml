/*
 * The ring of a queue: two senders under the producers' mutex, two receivers, K slots, and handles that die at any step
 * and are followed by others in the same member slot: queue (send, take, Done, Return, Shut, Close), internal/member
 * (claim). A comment that quotes Go stands at the statement that models it.
 *
 * queuewake.pml models how receivers and senders wait. Here they continue when there is something to do. The mutex is
 * that of mutex.pml: if its owner died, it is free. Memory is sequentially consistent here. Only one goroutine of each
 * handle uses the queue.
 */

#ifndef K
#define K 2        /* slots */
#endif
#ifndef SENDS
#define SENDS 2    /* messages, including those of senders that die */
#endif
#ifndef DEATHS
#define DEATHS 0   /* at most, including Closes with a message not done */
#endif
#ifndef RETURNS
#define RETURNS 0  /* at most */
#endif
#ifndef SHUTS
#define SHUTS 0
#endif
#ifndef GENS
#define GENS 5     /* generations of a member slot before it wraps to 1 */
#endif
#define MAXT 6

/* An identity: a member slot, 0 or 1, and its generation. */
#define DONE 15
#define MAKE(slot, gen) ((gen) * 2 + (slot))
#define SLOT(ident) ((ident) & 1)
#define ALIVE(ident) (live[SLOT(ident)] == (ident))

byte head, tail;
bool shut;
byte cursor = 1, count;               /* one word */
byte ticket[K], owner[K], attempt[K]; /* one word for each slot */
byte low[K], high[K];                 /* the slots' values: that of ticket t is t, in two words */
bool locked;
byte live[2];                         /* the current identity of each member slot */

/* Only for the assertions. */
byte begun, deaths, returns, shuts;
byte takes[MAXT]; /* by ticket */
byte done;        /* tickets, as bits */
byte ends;        /* senders and receivers at their end: 1 for each sender, 4 for each receiver */
byte F[2];        /* what was free when a receiver began to look, and has not been taken since */
byte lapsed;      /* what was returned by a receiver that has not moved the cursor yet, or died before */

#define S(t) ((t) % K)
#define BIT(t) (1 << (t))
#define IS(t, taker) (ticket[S(t)] == (t) && owner[S(t)] == (taker))
#define LAGS IS(head+1, DONE)
#define TAKEABLE(t) ((t) <= tail && ticket[S(t)] == (t) && owner[S(t)] != DONE && (owner[S(t)] == 0 || !ALIVE(owner[S(t)])))
#ifdef MUTANT_TAIL_OLD /* a look beyond a copy of the tail is not repeated */
#define LAST (tail + 1)
#else
#define LAST tail
#endif
#define FREE(t) ((t) > head && (t) <= tail && IS(t, 0) -> BIT(t) : 0)
#if K == 1
#define ANYTAKEABLE TAKEABLE(head+1)
#define ALLFREE FREE(head+1)
#elif K == 2
#define ANYTAKEABLE (TAKEABLE(head+1) || TAKEABLE(head+2))
#define ALLFREE (FREE(head+1) | FREE(head+2))
#else
#define ANYTAKEABLE (TAKEABLE(head+1) || TAKEABLE(head+2) || TAKEABLE(head+3))
#define ALLFREE (FREE(head+1) | FREE(head+2) | FREE(head+3))
#endif

/* Between any two accesses to shared data a process continues or is killed. */
#if DEATHS > 0
#define OR_DIE :: atomic { deaths < DEATHS -> deaths++; goto dead }; fi
#else
#define OR_DIE fi
#endif

/* advance: while state(head+1) is DONE: head.CompareAndSwap(h, h+1). An unsuccessful look ends it, and has no effect.
   Done does not go beyond its own ticket. */
inline advance(last) {
	do
	:: atomic { LAGS && head < last -> h = head }
		if
		:: atomic { head == h -> assert(done & BIT(h + 1)); /* head passes only messages that are done */ head = h + 1; h = 0 }
		:: atomic { head != h -> h = 0 }
		OR_DIE
	:: atomic { !(LAGS && head < last) -> h = 0; break }
	od
}

/* lower: Return and claim call it after they have freed a ticket. */
inline lower(t) {
#ifdef MUTANT_CURSOR_UNCOUNTED
	cursor = (cursor > t -> t : cursor)
#else
	count = (count + 1) & 7; cursor = (cursor > t -> t : cursor)
#endif
}

proctype sender() {
	byte t, h;
again:
	if
	:: atomic { !locked && begun < SENDS && !shut -> begun++; locked = true; t = tail + 1 }
	:: atomic { !locked && (begun == SENDS || shut) -> goto fin }
#if SHUTS > 0
#ifdef MUTANT_SHUT_UNLOCKED
	:: atomic { shuts < SHUTS && !shut -> shuts++; shut = true; goto fin }
#else
	:: atomic { !locked && shuts < SHUTS && !shut -> shuts++; locked = true }
		if
		:: shut = true
		OR_DIE;
		atomic { locked = false; goto again }
#endif
#endif
	fi;
	if
	:: atomic { t - head > K } ->
#ifdef MUTANT_ONLY_DONE_ADVANCES
		atomic { locked = false; t = 0; begun-- };
		atomic { tail + 1 - head <= K || shut -> goto again }
#else
		advance(MAXT);
		if
		:: atomic { t - head <= K }
		:: atomic { t - head > K -> locked = false; t = 0; begun-- }
			atomic { tail + 1 - head <= K || LAGS || shut -> goto again }
		fi
#endif
	:: atomic { t - head <= K }
	fi;
	if
	:: atomic { low[S(t)] = t }
	OR_DIE;
#ifdef MUTANT_TAIL_FIRST
	tail = t;
#endif
	if
	:: high[S(t)] = t
	OR_DIE;
	if
	:: atomic { true -> ticket[S(t)] = t; owner[S(t)] = 0; attempt[S(t)] = 0 }
	OR_DIE;
	if
	:: atomic { true -> tail = t; assert(ends < 4) /* nothing is sent after a receiver was told that nothing comes */ }
	OR_DIE;
	if
	:: atomic { locked = false; t = 0; goto again }
	OR_DIE;
#if DEATHS > 0
dead: /* the next Lock takes the mutex over; another sender follows */
	atomic { locked = false; t = 0; h = 0; goto again };
#endif
fin:
	ends++
}

proctype receiver(bit id) {
	byte me, t, c, n, h, o, a, gen;
	bool deep;
open: /* claim */
	gen = gen % GENS + 1;
#if GENS == 1 && !defined(MUTANT_WRAP_KEEPS)
	do /* the generation has wrapped: no state may name the member slot */
	:: atomic { t < K && (owner[t] == 0 || owner[t] == DONE || SLOT(owner[t]) != id) -> t++ }
	:: atomic { t < K && owner[t] != 0 && owner[t] != DONE && SLOT(owner[t]) == id -> owner[t] = 0; lapsed = lapsed | BIT(ticket[t]) }
		atomic { lapsed = lapsed & ~BIT(ticket[t]); lower(ticket[t]); t++ }
	:: atomic { t == K -> t = 0; break }
	od;
#endif
	atomic { me = MAKE(id, gen); live[id] = me };
again: /* from the cursor, and now and then from head+1, as messages that are done are skipped only once */
	atomic { c = cursor; n = count; F[id] = ALLFREE & ~lapsed };
	if
	:: atomic { true -> deep = false; h = head; t = (c > h + 1 -> c : h + 1); h = 0 }
#if DEATHS > 0
	:: atomic { head < tail -> deep = true; t = head + 1 }
#endif
	fi;
scan:
	if
	:: atomic { t > LAST && !deep -> goto slow }
	:: atomic { t > LAST && deep -> assert((F[id] & ~lapsed) == 0); /* no message was free all the time */ F[id] = 0; t = 0; c = 0; n = 0; deep = false }
		goto none
	:: atomic { t <= LAST -> o = owner[S(t)]; a = attempt[S(t)];
		if
#ifdef MUTANT_TICKET_NOT_COMPARED
		:: o == 0 || deep && o != DONE && !ALIVE(o)
#else
		:: ticket[S(t)] == t && (o == 0 || deep && o != DONE && !ALIVE(o))
#endif
		:: else -> o = 0; a = 0; t++; goto scan
		fi }
	fi;
	if
#ifdef MUTANT_TICKET_NOT_COMPARED
	:: atomic { owner[S(t)] == o ->
#else
	:: atomic { IS(t, o) && attempt[S(t)] == a ->
#endif
		assert(t <= tail && t > head && !(done & BIT(t))); /* a message that is done is not received */
		assert(o == 0 || !ALIVE(o));         /* not held by two live receivers */
		assert((F[id] & (BIT(t) - 1)) == 0); /* in order: no older message was free all the time */
		takes[t]++; owner[S(t)] = me; o = 0; a = 0;
#ifndef MUTANT_ATTEMPT_AFTER
		attempt[S(t)]++;
		assert(attempt[S(t)] == takes[t]);   /* Attempt is how often the message was taken */
#endif
		assert(low[S(t)] == t);              /* whole */
		lapsed = lapsed & ~BIT(t); F[0] = F[0] & ~BIT(t); F[1] = F[1] & ~BIT(t); F[id] = 0 }
	:: atomic { !(IS(t, o) && attempt[S(t)] == a) -> o = 0; a = 0; goto scan }
	fi;
#ifdef MUTANT_ATTEMPT_AFTER
	if
	:: atomic { true -> attempt[S(t)]++; assert(attempt[S(t)] == takes[t]) /* Attempt is how often the message was taken */ }
	OR_DIE;
#endif
	if
	:: atomic { !deep ->
		if
#ifdef MUTANT_CURSOR_UNCOUNTED
		:: cursor == c -> cursor = t + 1
#else
		:: cursor == c && count == n -> cursor = t + 1
#endif
		:: else
		fi }
	:: atomic { true } /* the cursor is not moved for the first one */
	fi;
	atomic { c = 0; n = 0; deep = false };
	assert(high[S(t)] == t && low[S(t)] == t); /* whole */
	if
	:: atomic { assert(IS(t, me)); owner[S(t)] = DONE; done = done | BIT(t) } /* Done */
#if RETURNS > 0
	:: atomic { returns < RETURNS -> returns++; goto give_back }
#endif
#if DEATHS > 0
	:: atomic { deaths < DEATHS -> deaths++; goto close }
#endif
	OR_DIE;
	advance(t);
	atomic { t = 0; goto again };

#if RETURNS > 0
give_back: /* Return */
#ifdef MUTANT_CURSOR_FIRST
	atomic { lower(t) };
#endif
	if
	:: atomic { assert(IS(t, me)); owner[S(t)] = 0;
#ifndef MUTANT_CURSOR_FIRST
		lapsed = lapsed | BIT(t)
#endif
		}
	OR_DIE;
#ifndef MUTANT_CURSOR_FIRST
	if
	:: atomic { lapsed = lapsed & ~BIT(t); lower(t) }
	OR_DIE;
#endif
	atomic { t = 0; goto again };
#endif

#if DEATHS > 0
close: /* the memory is retired, the messages are given back through another mapping, and the member slot is released */
	atomic { assert(IS(t, me)); owner[S(t)] = 0; lapsed = lapsed | BIT(t) };
	atomic { lapsed = lapsed & ~BIT(t); lower(t) };
#ifdef MUTANT_CLOSE_GIVES_BACK_FIRST
	assert(low[S(t)] == t && high[S(t)] == t); /* in place until the memory is retired */
#endif
	goto dead;
#endif

slow: /* nothing from the cursor */
#ifndef MUTANT_ONLY_DONE_ADVANCES
	advance(MAXT);
#endif
	atomic { t = head + 1; deep = true; goto scan };

none:
	if
#ifdef MUTANT_EOF_BEFORE_DONE
	:: atomic { shut && !ANYTAKEABLE && !LAGS -> goto eof }
#elif SHUTS > 0
	:: atomic { shut && head == tail -> goto eof }
#endif
	:: atomic { (ends & 3) == 2 && head == tail && !shut -> goto fin } /* no message will come, and the model ends */
#ifdef MUTANT_ONLY_DONE_ADVANCES
	:: atomic { ANYTAKEABLE -> goto again }
#else
	:: atomic { ANYTAKEABLE || LAGS -> goto again }
#endif
	fi;
#if DEATHS > 0
dead: /* its states stay; another receiver follows in its member slot */
	atomic { live[id] = 0; F[id] = 0; t = 0; c = 0; n = 0; h = 0; o = 0; a = 0; deep = false; goto open };
#endif
#if SHUTS > 0
eof:
	assert(done == (1 << (tail + 1)) - 2); /* all messages are done when a receiver is told that nothing comes */
	ends = ends + 4;
#endif
fin:
	skip
}

init {
	atomic { run sender(); run sender(); run receiver(0); run receiver(1) }
}
