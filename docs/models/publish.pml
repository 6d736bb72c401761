/*
 * Publish, load and watch, with processes that die at any step: sync/seqlock.go, segment/segment.go,
 * segment/reader.go, internal/notify, internal/layout/slots.go. A comment that quotes Go stands at the statement that
 * models it.
 *
 * Three parts share the writer, as their properties are independent: -DPART=LOAD has a reader, and a value to copy;
 * -DPART=HEADER has a reader that uses the versions in the slots' headers, which Load does not read; -DPART=WATCH has
 * watchers, and no value.
 *
 * Memory is sequentially consistent here. The writers' mutex is a word that the death of its holder clears; mutex.pml
 * models how.
 */

#define LOAD 1
#define WATCH 2
#define HEADER 3
#ifndef PART
#error which part: -DPART=…
#endif

#ifndef K
#define K 2        /* slots */
#endif
#ifndef STORES
#define STORES 4   /* begun in total, whether or not the writer lives to end them */
#endif
#ifndef WATCHERS
#define WATCHERS 2 /* 1 or 2 */
#endif
#define LOADS 2    /* of the one reader */

/* The shared data. There are two writers at a time, and a writer that dies is followed by another. */
byte cBegin, cEnd;       /* Counters: the version being written, or written last, and the current one */
byte low[K], high[K];    /* a value is two words, and whole if both are of one Store */
byte version[K];         /* in each slot's header: that of its value, or 0 */
bool flag;               /* on the wait page: a watcher can be parked */
byte locked;             /* the writers' mutex: its holder */

/* The kernel's: which watchers sleep on the low half of cEnd. */
bool asleep[2];

/* Only for the assertions. */
byte stores;             /* begun */
byte stored[STORES + 1]; /* which Store made each version */
byte once, twice;        /* bits of the versions that were in a header, and of those that two writers put there */
byte over;               /* writers that have finished */
bool due[2];             /* a live writer has cleared the flag, or published, and has not woken or looked since */
byte seen[2];            /* by each watcher */
bool looking[2];         /* a live watchdog has set the flag for this watcher and has not looked yet */
bool excused[2];         /* since this watcher set the flag, a writer died that was about to wake one */
bool calm;               /* from now on no process dies, and a sleep ends by its limit only where it must */

#if PART == LOAD || PART == HEADER
#define NOTE(x) x
#else
#define NOTE(x)
#endif

#define BIT(v) (1 << (v))
#define SEAL(v) atomic { true -> version[SLOT(v)] = v; twice = twice | (once & BIT(v)); once = once | BIT(v) }

#ifdef MUTANT_CURRENT_SLOT
#define SLOT(v) 0
#else
#define SLOT(v) ((v) % K) /* Slot: the version modulo the number of slots */
#endif

#ifdef MUTANT_NO_RECHECK
#define RETRY(v) false
#elif defined(MUTANT_RECHECK_OFF_BY_ONE)
#define RETRY(v) (((cBegin - (v)) & 255) > K)
#else
#define RETRY(v) (((cBegin - (v)) & 255) >= K) /* ReadRetry: atomic.LoadUint64(&l.c[begin])-version >= l.slots */
#endif

#ifdef MUTANT_ONE_LOOK
#define WANTED armed
#else
#define WANTED (armed || flag != 0)
#endif

/* Between any two accesses to shared data a process continues or is killed. */
#define OR_DIE :: !calm -> goto dead; fi

proctype writer(byte id) {
	byte v, n;
	bool armed;
again:
	if /* store, storeSlow: s.turn.TryLock(), s.turn.Lock(ctx, errStoreWithin) */
	:: atomic { locked == 0 && stores < STORES -> locked = 1 + id; stores++; NOTE(n = stores) }
	:: atomic { stores == STORES -> over++; goto done }
	fi;

	v = cEnd + 1; /* WriteNext: no other writer can change the version meanwhile */
#if PART == HEADER && !defined(MUTANT_HEADER_NOT_CLEARED)
	if /* n.slot.Unseal() */
	:: version[SLOT(v)] = 0
	OR_DIE;
#endif
#ifndef MUTANT_ANNOUNCE_LATE
	if /* WriteAnnounce: fence.Publish(&l.c[begin], version) */
	:: cBegin = v
	OR_DIE;
#endif
#ifdef MUTANT_END_EARLY
	atomic { cEnd = v; NOTE(stored[v] = n) };
#endif
#if PART == HEADER && defined(MUTANT_HEADER_FIRST)
	SEAL(v);
#endif
#if PART == LOAD || PART == HEADER
	if /* publish: layout.Put(slot, v), s.payload.Put(slot, v) */
	:: low[SLOT(v)] = n
	OR_DIE;
	if
	:: high[SLOT(v)] = n
	OR_DIE;
#endif
#ifdef MUTANT_ANNOUNCE_LATE
	cBegin = v;
#endif
#if PART == HEADER && !defined(MUTANT_HEADER_FIRST) && !defined(MUTANT_HEADER_LATE)
	if /* n.slot.Seal(n.version, previous, size) */
	:: SEAL(v)
	OR_DIE;
#endif
#if PART == WATCH && !defined(MUTANT_FLAG_AFTER)
	if /* Disarm: n.src.Flag.Load() != 0 && … */
	:: flag == 0
	:: flag != 0 ->
		if /* … n.src.Flag.Swap(0) != 0 */
		:: atomic { true -> armed = flag; flag = 0; due[id] = armed }
		OR_DIE
	OR_DIE;
#endif
	if /* WriteEnd: fence.Publish(&l.c[end], version) */
	:: atomic { true -> cEnd = v; NOTE(stored[v] = n); due[id] = true }
	OR_DIE;
#if PART == HEADER && defined(MUTANT_HEADER_LATE)
	if
	:: SEAL(v)
	OR_DIE;
#endif
#if PART == WATCH && defined(MUTANT_FLAG_AFTER)
	if
	:: atomic { true -> armed = flag; flag = 0 }
	OR_DIE;
#endif
	if /* conclude: s.turn.TryUnlock() */
	:: locked = 0
	OR_DIE;
#if PART == WATCH
	if /* Notify: if armed || n.src.Flag.Load() != 0 */
	:: atomic { !WANTED -> due[id] = false }
	:: WANTED ->
		if /* n.src.Sleep.Wake(old), which wakes all */
		:: atomic { true -> asleep[0] = false; asleep[1] = false; due[id] = false }
		OR_DIE
	OR_DIE;
#endif
	atomic { v = 0; n = 0; armed = false; goto again };

dead:
	atomic {
		if
		:: locked == 1 + id -> locked = 0
		:: else
		fi;
#if PART == WATCH
		if
		:: due[id] && (armed || flag != 0) -> excused[0] = true; excused[1] = true
		:: else
		fi;
#endif
		due[id] = false;
		v = 0; n = 0; armed = false; goto again
	};
done:
	skip
}

#if PART == LOAD

proctype reader(byte id) {
	byte v, a, b, oldest, loads;
	bool holds;
again:
	/* load, tryRead: r.seq.ReadBegin() */
	atomic { v = cEnd; oldest = cEnd };
attempt:
	if
	:: v == 0 -> assert(oldest == 0)        /* Load returns this only if nothing had been stored */
	:: v != 0 ->
		/* layout.Get(slot, v), or r.payload.Get(slot, v), or r.payload.Copy(slot, private) */
		a = low[SLOT(v)];
		b = high[SLOT(v)];
		if /* !r.seq.ReadRetry(version) */
		:: atomic { !RETRY(v) ->
			assert(a == b);         /* a value is not torn */
			assert(a == stored[v]); /* a value is that of the Store which ended its version */
			assert(v >= oldest) }   /* a value is not older than what was current when Load began */
		:: atomic { RETRY(v) -> a = 0; b = 0;
			assert(!holds) };       /* with the lock, read never returns errCounters */
			assert(cEnd != v);      /* without it, read never returns errCounters */
			if
			:: atomic { true -> v = cEnd; goto attempt }
			:: atomic { locked == 0 -> locked = 3 + id; holds = true }; /* r.mutex.TryLock() */
				if /* read: r.tryRead(v, private) */
				:: atomic { true -> v = cEnd; goto attempt }
				OR_DIE
			fi
		fi
	fi;
	if /* r.unlock() */
	:: atomic { holds -> locked = 0; holds = false }
	:: !holds
	OR_DIE;
	atomic { v = 0; a = 0; b = 0; oldest = 0; loads++ };
	if
	:: loads < LOADS -> goto again
	:: else -> goto done
	fi;
dead:
	if
	:: holds -> locked = 0
	:: else
	fi;
done:
	skip
}

#elif PART == HEADER

#ifdef MUTANT_NEWER_THAN_END
#define PUBLISHED(v) true
#elif defined(MUTANT_END_AFTER_COPY)
#define PUBLISHED(v) ((v) <= cEnd)
#else
#define PUBLISHED(v) ((v) <= e)
#endif

/* A reader that uses a slot's header: docs/format.md, "By a slot's version". */
proctype reader(byte id) {
	byte e, s, v, a, b, loads;
again:
	e = cEnd;
	do /* any slot */
	:: atomic { s < K - 1 -> s++ }
	:: break
	od;
	v = version[s];
	if
	:: v == 0
	:: v != 0 ->
		a = low[s];
		b = high[s];
		if
		:: atomic { version[s] == v ->
			assert(a == b || !PUBLISHED(v) && twice & BIT(v));  /* a value with a published version in its header is not torn */
			assert(a == stored[v] || !PUBLISHED(v)) } /* a value with a published version in its header is that of the Store which ended it */
		:: version[s] != v
		fi
	fi;
	atomic { e = 0; s = 0; v = 0; a = 0; b = 0; loads++ };
	if
	:: loads < LOADS -> goto again
	:: else
	fi
}

#define MISLABELLED (cEnd != 0 && version[SLOT(cEnd)] != cEnd)

active proctype monitor() {
	bool mislabelled;
end_never:
	atomic {
		MISLABELLED -> mislabelled = true;
		assert(!mislabelled) /* the slot of the current version carries that version */
	}
}

#else

/* The goroutine that parks for a handle's waiters: group.run, wait.park; and the watchdog, which looks while that is parked. */
proctype watcher(byte id) {
	byte now;
#ifndef MUTANT_FLAG_ONCE
again:
#endif
	if /* doArm: n.src.Flag.Store(1) */
	:: atomic { true -> flag = 1; excused[id] = false }
	OR_DIE;
#ifdef MUTANT_FLAG_ONCE
again:
#endif
	now = cEnd; /* now := n.src.Word.Load() */
	if /* n.moved = now != n.seen; n.seen = now */
	:: now != seen[id] -> seen[id] = now; goto again
	:: else
	fi;
	if /* g.sleeper.Sleep(g.spots, g.set.limit()): the kernel's look at the word and the sleep are one step */
	:: atomic { cEnd == seen[id] -> asleep[id] = true }
	:: cEnd != seen[id] -> goto again
	OR_DIE;
sleeping:
	if
	:: !asleep[id] -> goto again
	:: atomic { asleep[id] && (!calm || excused[id]) -> asleep[id] = false; goto again } /* limit */
#ifndef MUTANT_WATCHDOG_LOOKS_FIRST
	:: atomic { asleep[id] && (!calm || excused[id]) -> flag = 1; excused[id] = false; looking[id] = true };
		if /* doRearm: n.src.Flag.Store(1), n.moved = n.src.Word.Load() != n.seen; check: g.kick() */
		:: atomic { cEnd == seen[id] -> looking[id] = false; goto sleeping }
		:: atomic { cEnd != seen[id] -> looking[id] = false; asleep[id] = false; goto again }
		OR_DIE
#else
	:: atomic { asleep[id] && cEnd == seen[id] && (!calm || excused[id]) -> looking[id] = true };
		if
		:: atomic { true -> flag = 1; excused[id] = false; looking[id] = false; goto sleeping }
		OR_DIE
#endif
	:: atomic { over == 2 && cEnd == seen[id] -> goto dead } /* there will be no other version */
	OR_DIE;
dead:
	atomic { asleep[id] = false; seen[id] = 0; excused[id] = false; looking[id] = false } /* its flag stays */
}

#define SLEEPS_THROUGH(w) (asleep[w] && seen[w] != cEnd && !excused[w] && !looking[w] && !due[0] && !due[1])

active proctype monitor() {
	bool asleep_through_a_store;
end_never:
	atomic {
		SLEEPS_THROUGH(0) || SLEEPS_THROUGH(1) -> asleep_through_a_store = true;
		assert(!asleep_through_a_store) /* no watcher sleeps while there is a newer version and no live process is about to wake it */
	}
}

#endif

init {
	atomic {
		run writer(0);
		run writer(1);
#if PART == LOAD || PART == HEADER
		run reader(0)
#else
		run watcher(0);
#if WATCHERS == 2
		run watcher(1)
#endif
#endif
	};
	calm = true
}
