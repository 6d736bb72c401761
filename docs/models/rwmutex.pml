/*
 * The RWMutex: sync/rwmutex.go, with the word of sync/mutex.go and the waiting of internal/notify's EventCount. Owners,
 * readers and waiters die at any step, and others take their member slots. A comment that quotes Go stands at the
 * statement that models it.
 *
 * The writers' word is that of mutex.pml, with all its steps. Readers count in the row of their member. There are three
 * handles: some read and the others write.
 *
 * Memory is sequentially consistent here. Only one goroutine of each handle uses the lock.
 */

#ifndef READERS
#error how many of the three handles read, 1 or 2; the others write: -DREADERS=…
#endif
#define HANDLES 3
#ifndef OPS
#define OPS 3     /* acquisitions in total */
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef GIVEUPS
#define GIVEUPS 1 /* contexts that end */
#endif

/* An identity is a member slot and its generation, and never 0. */
#define IDENT 15
#define INCONSISTENT 16
#define WAITERS 32
#define ME (1 + id + 4 * generation[id])
#define SLOT(ident) (((ident) - 1) & 3)
#define LIVES(ident) (live[SLOT(ident)] && generation[SLOT(ident)] == (((ident) - 1) >> 2))
#define OWNER (word & IDENT)
#define FREE(w) (((w) & ~WAITERS) == 0)

byte word;
byte count[HANDLES];      /* of readers: the members' rows */
byte flag, seq;           /* for the writer that waits for readers */
byte generation[HANDLES];
bool live[HANDLES];

/* The kernel's: which handles sleep on the word, and on seq. */
bool asleep[HANDLES], drains[HANDLES];

/* Only for the assertions. */
bool reading[HANDLES];
byte writing;             /* the handle that can change the guarded data: 1 + the handle */
bool dirty;               /* such a handle died, and the guarded data has not been repaired since */
bool waking[HANDLES];     /* live, and is about to wake a sleeper of the word */
bool woken[HANDLES];      /* live, was woken there, and has not passed that on yet */
bool excused[HANDLES];    /* while it slept, a handle died that was waking or woken */
bool late[HANDLES];       /* while it slept on seq, a handle died */
bool calm;                /* from now on no process dies or gives up, and a sleep ends by its limit only where it must */
byte ops, deaths, giveups;

#define SOME(x) (x[0] || x[1] || x[2])
#define ALL(x, v) x[0] = v; x[1] = v; x[2] = v

/* Between any two accesses to shared data a process continues or is killed. */
#define OR_DIE :: atomic { !calm && deaths < DEATHS -> deaths++; goto dead }; fi

#define NEXT ((id + 1) % 3)
#define LAST ((id + 2) % 3)
inline wake_one() { /* m.queue.Wake() */
	if
	:: asleep[NEXT] -> asleep[NEXT] = false; woken[NEXT] = true
	:: asleep[LAST] -> asleep[LAST] = false; woken[LAST] = true
	:: !asleep[NEXT] && !asleep[LAST]
	fi;
	waking[id] = false
}

inline signal() { /* r.gone.Signal(): e.Flag.Load() != 0 && e.Flag.Swap(0) != 0; e.Seq.Add(1); e.Queue.Wake() */
	if
	:: flag == 0
	:: flag != 0 ->
		if
		:: atomic { flag != 0 -> flag = 0; x = true }
		:: flag == 0
		OR_DIE;
		if
		:: x ->
			if
			:: atomic { true -> seq = (seq + 1) & 15 }
			OR_DIE;
			if
			:: atomic { true -> ALL(drains, false); x = false }
			OR_DIE
		:: else
		fi
	OR_DIE
}

inline release(flags) { /* m.release(flags) */
	if
	:: atomic { true ->
		assert(OWNER == ME); /* the word was not taken from its owner */
		waking[id] = (word & WAITERS) != 0;
		word = flags;
		writing = 0 }
	OR_DIE;
	if
	:: atomic { waking[id] -> wake_one() }
	:: !waking[id]
	OR_DIE
}

/* noneReads: r.page.Row(slot).Load() != 0 && r.m.member.Open(slot), for each. The first look is without the flag. */
inline look_at_counts() {
	i = 0; busy = false;
	do
	:: i < HANDLES ->
		if
#ifdef MUTANT_DEAD_COUNTS
		:: count[i] != 0 -> busy = true
		:: count[i] == 0
#else
		:: atomic { count[i] != 0 && live[i] -> busy = true }
		:: !(count[i] != 0 && live[i])
#endif
		OR_DIE;
		i++
	:: i == HANDLES -> i = 0; break
	od
}

proctype handle(byte id) {
	byte w, s, i;
	bool reads, parked, died, busy, x;

round:
	atomic {
		parked = false; died = false; woken[id] = false;
		if
		:: ops == OPS -> goto done
		:: ops < OPS -> ops++
		fi;
		reads = id < READERS
	};
	if
	:: reads -> goto share
	:: !reads
	fi;
	if /* Lock: m.word.TryLock() */
	:: atomic { word == 0 -> word = ME; goto drain }
	:: word != 0
	OR_DIE;

look: /* compete */
	if /* w := m.word.Word.Load() */
	:: w = word
	OR_DIE;
	if
	:: FREE(w) && reads -> goto share
	:: (w & IDENT) == 0 && !(FREE(w) && reads) -> goto take
	:: (w & IDENT) != 0 && !LIVES(w & IDENT) -> goto take
	:: (w & IDENT) != 0 && LIVES(w & IDENT)
	fi;
	if /* m.word.Word.CompareAndSwap(w, w|layout.WaitersBit) */
	:: w & WAITERS
	:: !(w & WAITERS) ->
		if
		:: atomic { word == w -> w = w | WAITERS; word = w }
		:: word != w -> goto look
		OR_DIE
	fi;
	if /* m.queue.Wait(w, limit) */
	:: atomic { word == w -> asleep[id] = true; woken[id] = false; excused[id] = false; parked = true; w = 0 }
	:: atomic { word != w -> w = 0; goto look }
	OR_DIE;
	if
	:: !asleep[id] -> goto look
	:: atomic { asleep[id] && (excused[id] || OWNER != 0 && !LIVES(OWNER)) -> asleep[id] = false; goto look } /* limit */
	:: atomic { !calm && giveups < GIVEUPS -> giveups++; asleep[id] = false; waking[id] = true; woken[id] = false }
	OR_DIE;
	if /* gives up: if flags != 0 { m.queue.Wake() } */
#ifdef MUTANT_GIVES_UP_SILENTLY
	:: atomic { true -> waking[id] = false }
#else
	:: atomic { true -> wake_one() }
#endif
	OR_DIE;
	goto round;

share: /* enter: r.row.Add(1); m.word.Word.Load()&^layout.WaitersBit != 0. RLock's first try is the same */
#ifdef MUTANT_LOOKS_FIRST
	if
	:: FREE(word)
	:: !FREE(word) -> goto look
	fi;
#endif
	if
	:: count[id]++
	OR_DIE;
	if
#ifdef MUTANT_LOOKS_FIRST
	:: atomic { true -> goto shared }
#elif defined(MUTANT_INCONSISTENT_SHARED)
	:: atomic { OWNER == 0 -> goto shared }
	:: OWNER != 0
#else
	:: atomic { FREE(word) -> goto shared }
	:: !FREE(word)
#endif
	OR_DIE;
	if /* leave: r.row.CompareAndSwap(n, n-1), until it succeeds; r.gone.Signal() */
	:: count[id]--
	OR_DIE;
#ifndef MUTANT_BACKS_OFF_SILENTLY
	signal();
#endif
	goto look;

shared:
	atomic {
		reading[id] = true;
		assert(writing == 0); /* no handle writes while another reads */
		assert(!dirty);       /* the guarded data is repaired before any handle reads it */
		waking[id] = parked;
		woken[id] = false
	};
	if /* if flags != 0 { m.queue.Wake() }: the last owner may have cleared the bit of other sleepers */
#ifdef MUTANT_ENTERS_SILENTLY
	:: atomic { true -> waking[id] = false }
#else
	:: atomic { waking[id] -> wake_one() }
	:: !waking[id]
#endif
	OR_DIE;

in:
	if /* RUnlock: leave */
	:: atomic { true -> reading[id] = false; count[id]-- }
	OR_DIE;
#ifndef MUTANT_UNLOCKS_SILENTLY
	signal();
#endif
	goto round;

take: /* tryTake */
	if
	:: atomic { word == w ->
		assert((w & IDENT) == 0 || !LIVES(w & IDENT)); /* the word is never taken from a live owner */
		died = (w & ~WAITERS) != 0;
		word = ME | (w & WAITERS) | (parked -> WAITERS : 0) | (died -> INCONSISTENT : 0);
		woken[id] = false;
		w = 0 }
	:: atomic { word != w -> w = 0; goto look }
	OR_DIE;

drain: /* drain */
#ifdef MUTANT_REPAIRS_BESIDE_READERS
	if
	:: died -> goto drained
	:: !died
	fi;
#endif
	look_at_counts();
	if
	:: !busy -> goto drained
	:: busy
	fi;
arm:
	if /* r.gone.Wait: seq := w.event.Seq.Load(); w.event.Flag.Store(1); w.ready(); w.event.Queue.Wait(seq, w.limit()) */
	:: s = seq
	OR_DIE;
#ifndef MUTANT_FLAG_AFTER_LOOK
	if
	:: atomic { true -> flag = 1; late[id] = false }
	OR_DIE;
	look_at_counts();
#else
	look_at_counts();
	if
	:: atomic { true -> flag = 1; late[id] = false }
	OR_DIE;
#endif
	if
	:: atomic { !busy -> s = 0; goto drained }
	:: busy
	fi;
	busy = false;
	if
	:: atomic { seq == s -> drains[id] = true; s = 0 }
	:: atomic { seq != s -> s = 0; goto arm }
	OR_DIE;
	if
	:: !drains[id] -> goto arm
	:: atomic { drains[id] && late[id] -> drains[id] = false; goto arm } /* limit */
	:: atomic { !calm && giveups < GIVEUPS -> giveups++; drains[id] = false }
	OR_DIE;
	release((died -> INCONSISTENT : 0)); /* the context ended */
	goto round;

drained:
	atomic {
		assert(!SOME(reading)); /* no handle reads while another writes or repairs */
		writing = 1 + id
	};
	if
	:: died ->
		if
		:: atomic { true -> dirty = false; word = word & ~INCONSISTENT; died = false } /* restore */
		:: atomic { !calm && giveups < GIVEUPS -> giveups++ }                          /* Repair fails */
		OR_DIE;
		if
		:: died ->
			release(INCONSISTENT);
			goto round
		:: !died
		fi
	:: !died
	fi;
	assert(!dirty); /* the guarded data is repaired before any handle changes it */
	if
	:: reads ->
		if /* downgrade: r.row.Add(1); r.m.release(0) */
		:: atomic { true -> count[id]++; reading[id] = true; writing = 0 }
		OR_DIE;
		release(0);
		goto in
	:: !reads
	fi;
	release(0);
	goto round;

dead:
	atomic {
		if
		:: writing == 1 + id -> writing = 0; dirty = true
		:: else
		fi;
		live[id] = false; reading[id] = false; asleep[id] = false; drains[id] = false;
		if
		:: waking[id] || woken[id] -> ALL(excused, true)
		:: else
		fi;
		ALL(late, true);
		waking[id] = false; woken[id] = false;
		w = 0; s = 0; i = 0; parked = false; died = false; busy = false; x = false
	};
	/* Another handle takes its member slot, or none does: member claim. */
	if
	:: atomic { true -> generation[id]++; live[id] = true }
	:: goto done
	fi;
	if /* clearRow: page.Row(slot).Store(0); e.Signal() */
	:: count[id] = 0
	OR_DIE;
#ifndef MUTANT_CLAIMS_SILENTLY
	signal();
#endif
	goto round;
done:
	skip
}

init {
	atomic {
		run handle(0);
		run handle(1);
		live[0] = true; live[1] = true;
		run handle(2);
		live[2] = true
	};
	calm = true
}
