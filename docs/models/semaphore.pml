/*
 * The Semaphore: sync/semaphore.go, with the waiting of internal/notify's Notifier. Holders and waiters die at any step,
 * and others take their member slots. A comment that quotes Go stands at the statement that models it.
 *
 * `used` and the members' rows {identity, permits} change under a mutex, which is one step here; mutex.pml has its steps.
 * If its owner died, the next owner counts the permits again.
 *
 * Memory is sequentially consistent here. Only one goroutine of each handle uses the semaphore.
 */

#ifndef HANDLES
#define HANDLES 3
#endif
#ifndef PERMITS
#define PERMITS 2
#endif
#ifndef OPS
#define OPS 4     /* acquisitions in total, each of one or two permits */
#endif
#ifndef DEATHS
#define DEATHS 2
#endif

byte used;
byte permits[HANDLES], owner[HANDLES]; /* the rows: permits, and the generation of their holder */
byte flag, seq;                        /* for waiters */
byte mutex;                            /* 1 + its owner */
bool inconsistent;                     /* an owner of the mutex died */
byte generation[HANDLES];
bool live[HANDLES];
bool asleep[HANDLES];                  /* the kernel's view */

/* Only for the assertions. */
byte has[HANDLES];                     /* the permits of a live handle, between Acquire and Release */
byte wants[HANDLES];                   /* the permits that a sleeper waits for */
bool waking[HANDLES];                  /* live, releases, and has not woken the others yet */
bool late[HANDLES];                    /* a handle died since it began to look for permits of dead holders */
bool calm;                             /* from now on no process dies, and a sleep ends by its limit only where it must */
byte ops, deaths;

#ifdef MUTANT_NO_IDENTITY
#define LIVES(m) live[m]
#else
#define LIVES(m) (live[m] && owner[m] == generation[m])
#endif
#if HANDLES == 3
#define SUM(x) (x[0] + x[1] + x[2])
#define ALL(x, v) x[0] = v; x[1] = v; x[2] = v
#else
#define SUM(x) (x[0] + x[1])
#define ALL(x, v) x[0] = v; x[1] = v
#endif

/* Between any two accesses to shared data a process continues or is killed. */
#define OR_DIE :: atomic { !calm && deaths < DEATHS -> deaths++; goto dead }; fi

/* recount: the rows of live holders are added up, those of dead holders are cleared */
inline recount() {
	i = 0; sum = 0;
	do
	:: i < HANDLES ->
		if
		:: atomic { LIVES(i) -> sum = sum + permits[i] }
		:: atomic { !LIVES(i) -> permits[i] = 0 }
		OR_DIE;
		i++
	:: i == HANDLES -> i = 0; break
	od;
	if
	:: atomic { true -> used = sum; sum = 0 }
	OR_DIE
}

inline lock() { /* s.mutex.lockSlow, with recount as Repair */
	if
	:: atomic { mutex == 0 -> mutex = 1 + id }
	OR_DIE;
	if
	:: inconsistent ->
#ifndef MUTANT_NO_REPAIR
		recount();
#endif
		if
		:: inconsistent = false
		OR_DIE
	:: !inconsistent
	fi
}

inline unlock() {
	if
	:: atomic { true ->
		assert(used == SUM(permits)); /* used is what the rows hold */
		mutex = 0 }
	OR_DIE
}

proctype handle(byte id) {
	byte i, sum, s, want;

round:
	atomic {
		if
		:: ops == OPS -> goto done
		:: ops < OPS -> ops++; want = 1
		:: ops < OPS -> ops++; want = 2
		fi
	};
try: /* Acquire, TryAcquire: take, with the mutex held */
	late[id] = false;
	lock();
#ifndef MUTANT_NOTHING_TAKEN_BACK
	if /* the row is another's, or there are too few permits */
	:: permits[id] != 0 || used + want > PERMITS -> recount()
	:: !(permits[id] != 0 || used + want > PERMITS)
	fi;
#endif
	if
	:: used + want <= PERMITS
	:: used + want > PERMITS -> goto wait
	fi;
	if /* layout.PutWord(s.used, used+n) */
	:: used = used + want
	OR_DIE;
	if /* layout.PutWord(s.row, uint64(layout.NewHolding(…, held+n))) */
	:: atomic { true -> owner[id] = generation[id]; permits[id] = want }
	OR_DIE;
	unlock();
	goto acquired;
wait:
	unlock();
arm:
#ifdef MUTANT_WORD_AFTER_FLAG
	if
	:: atomic { true -> flag = 1 }
	OR_DIE;
	if
	:: s = seq
	OR_DIE;
#else
	if /* doArm: now := n.src.Word.Load() */
	:: s = seq
	OR_DIE;
	if /* doArm: n.src.Flag.Store(1) */
	:: atomic { true -> flag = 1 }
	OR_DIE;
#endif
	if /* acquireSlow: enough */
	:: atomic { used + want <= PERMITS -> s = 0; goto try }
	:: used + want > PERMITS
	OR_DIE;
	if /* sleep while the word is what it was */
	:: atomic { seq == s -> asleep[id] = true; wants[id] = want; s = 0 }
	:: atomic { seq != s -> s = 0; goto arm }
	OR_DIE;
	if
	:: !asleep[id] -> goto arm
	:: atomic { asleep[id] && late[id] -> asleep[id] = false; goto try } /* limit */
	OR_DIE;

acquired:
	if
	:: atomic { true ->
		has[id] = want;
		assert(SUM(has) <= PERMITS) /* no permit has two holders */ }
	OR_DIE;
	if
	:: has[id] = 0
	OR_DIE;
	waking[id] = true;
	lock();
	if /* layout.PutWord(s.used, max(used, n)-n) */
	:: used = used - want
	OR_DIE;
	if /* layout.PutWord(s.row, uint64(layout.NewHolding(…, held-n))) */
	:: atomic { true ->
		assert(owner[id] == generation[id] && permits[id] == want); /* no permit is taken from a live holder */
		permits[id] = 0; want = 0 }
	OR_DIE;
	unlock();
	if /* tell: n.src.Flag.Load() != 0 && n.src.Flag.Swap(0) != 0 */
	:: atomic { flag != 0 -> flag = 0 }
	:: atomic { flag == 0 -> waking[id] = false; goto round }
	OR_DIE;
	if /* tell: b.seq.Add(1) */
#ifdef MUTANT_WORD_STANDS
	:: true
#else
	:: seq = (seq + 1) & 31
#endif
	OR_DIE;
	if /* n.src.Sleep.Wake(old) */
#ifdef MUTANT_WAKES_ONE
	:: atomic { true -> waking[id] = false;
		if
		:: asleep[0] -> asleep[0] = false
		:: asleep[1] -> asleep[1] = false
		:: asleep[2] -> asleep[2] = false
		:: SUM(asleep) == 0
		fi }
#else
	:: atomic { true -> waking[id] = false; ALL(asleep, false) }
#endif
	OR_DIE;
	goto round;

dead:
	atomic {
		if
		:: mutex == 1 + id -> mutex = 0; inconsistent = true
		:: else
		fi;
		live[id] = false; has[id] = 0; asleep[id] = false; waking[id] = false;
		ALL(late, true);
		i = 0; sum = 0; s = 0; want = 0
	};
	atomic { generation[id]++; live[id] = true }; /* another handle takes its member slot: member claim */
#ifdef MUTANT_CLAIM_CLEARS
	permits[id] = 0;
#endif
	goto round;
done:
	skip
}

#define FORGOTTEN(h) (asleep[h] && !late[h] && used + wants[h] <= PERMITS)
#if HANDLES == 3
#define ANY_FORGOTTEN (FORGOTTEN(0) || FORGOTTEN(1) || FORGOTTEN(2))
#else
#define ANY_FORGOTTEN (FORGOTTEN(0) || FORGOTTEN(1))
#endif

active proctype monitor() {
	bool sleeper_is_forgotten;
end_never:
	atomic {
		ANY_FORGOTTEN && SUM(waking) == 0 && mutex == 0 && !inconsistent -> sleeper_is_forgotten = true;
		assert(!sleeper_is_forgotten) /* no handle sleeps while there are enough permits for it and no live process will wake it */
	}
}

init {
	atomic {
		run handle(0);
		run handle(1);
		live[0] = true; live[1] = true;
#if HANDLES == 3
		run handle(2);
		live[2] = true
#endif
	};
	calm = true
}
