/*
 * The mutex word, with owners and waiters that die at any step, and member slots that are reused: sync/mutex.go,
 * internal/member (Alive, claim, disown), internal/layout/ident.go. A comment that quotes Go stands at the statement
 * that models it.
 *
 * There are two parts, as the whole has too many states. -DPART=SLEEP has three handles and is about wake-ups.
 * -DPART=REUSE has two handles at a time, followed by others, and is about which owner counts as alive, and about repair.
 *
 * Memory is sequentially consistent here. Only one goroutine of each handle uses the mutex.
 */

#define SLEEP 1
#define REUSE 2
#ifndef PART
#error which part: -DPART=…
#endif

#if PART == SLEEP
#define HANDLES 3
#else
#define HANDLES 2 /* at one time */
#endif
#ifndef CLAIMS
#define CLAIMS 4  /* handles in total, if they are followed by others */
#endif
#ifndef LOCKS
#define LOCKS 4   /* Locks and TryLocks in total */
#endif

/* The word. An identity is a member slot and its generation, 1 to 7, and never 0. There are more generations than
   a slot has holders. So an identity is not reused while a handle is between asking for its owner and taking the
   mutex from it, which would take a million holders. */
#define IDENT 31
#define INCONSISTENT 32
#define WAITERS 64
#define MAKE(slot, gen) ((gen) * 4 + (slot))
#define SLOT(ident) ((ident) & 3)
#define GEN(ident) (((ident) & IDENT) / 4)
#define NEXT(gen) ((gen) % 7 + 1)

byte word;
byte generation[HANDLES]; /* of the member slots, one for each handle */
bool held[HANDLES];       /* the slots' lock bytes, which the kernel drops with their holder */

/* The kernel's: which handles sleep on the word. */
bool asleep[HANDLES];

/* Only for the assertions. */
byte live[HANDLES];    /* identity of an open handle */
byte holder;           /* the live handle between Lock and Unlock: 1 + the handle */
bool dirty;            /* an owner died, and the guarded data has not been repaired since */
bool waking[HANDLES];  /* live, has taken the waiters bit out of the word, and has not woken a waiter yet */
bool woken[HANDLES];   /* live, was woken, and has not passed that on yet */
bool excused[HANDLES]; /* while it slept, a handle died that was waking or woken */
bool sure[HANDLES];    /* asks for an owner that was dead before, and no slot was claimed meanwhile */
bool calm;             /* from now on no process dies, and a sleep ends by its limit only where it must */
byte claims, locks;

#if HANDLES == 3
#define ANY(x) (x(0) || x(1) || x(2))
#define LIVES(ident) ((ident) != 0 && (live[0] == (ident) || live[1] == (ident) || live[2] == (ident)))
#else
#define ANY(x) (x(0) || x(1))
#define LIVES(ident) ((ident) != 0 && (live[0] == (ident) || live[1] == (ident)))
#endif
#define OWNER (word & IDENT)
#define ASLEEP(h) asleep[h]
#define EXCUSE(h) excused[h] = excused[h] || asleep[h]

/* Between any two accesses to shared data a process continues or is killed. */
#define OR_DIE :: !calm -> goto dead; fi

inline wake_one() { /* m.queue.Wake(): any one sleeper */
	if
	:: asleep[0] -> asleep[0] = false; excused[0] = false; woken[0] = true
	:: asleep[1] -> asleep[1] = false; excused[1] = false; woken[1] = true
#if HANDLES == 3
	:: asleep[2] -> asleep[2] = false; excused[2] = false; woken[2] = true
#endif
	:: !ANY(ASLEEP)
	fi;
	waking[id] = false
}

inline acquired() {
	assert(holder == 0); /* only one handle holds the mutex */
	holder = 1 + id;
	woken[id] = false;
	w = 0; flags = 0
}

#ifdef MUTANT_TAKE_LOSES_WAITERS
#define KEPT(w) 0
#else
#define KEPT(w) ((w) & WAITERS)
#endif
#ifdef MUTANT_TAKE_STORES
#define SAME(w) true
#else
#define SAME(w) (word == w)
#endif

/* tryTake: died = w&^layout.WaitersBit != 0; flags |= w & layout.WaitersBit; if died { flags |= layout.InconsistentBit };
   m.word.Word.CompareAndSwap(w, m.word.Self|flags) */
inline try_take() {
	if
	:: atomic { SAME(w) ->
		assert(!LIVES(w & IDENT)); /* the mutex is never taken from a live owner */
		died = (w & ~WAITERS) != 0;
		assert(!died || dirty);    /* no death is invented */
		word = me | flags | KEPT(w) | (died -> INCONSISTENT : 0);
		acquired();
		goto locked }
	:: !SAME(w)
	OR_DIE
}

proctype handle(byte id) {
	byte slot, me, w, flags;
	bool try, died;

#if PART == SLEEP
	me = MAKE(id, 1);
#else
open:
	if /* claim: m.obj.Hold(slot), of the first free slot. The rotor is only where the search begins. */
	:: atomic { claims < CLAIMS -> claims++;
		slot = (held[0] -> 1 : 0);
		held[slot] = true;
		sure[0] = false; sure[1] = false }
	:: atomic { claims == CLAIMS -> goto done }
	fi;
	if /* claim: next := layout.NextGeneration(generation.Load()), and again if the word names this identity */
	:: atomic { true -> me = MAKE(slot, NEXT(generation[slot]));
#ifndef MUTANT_GENERATION_NOT_SKIPPED
		if
		:: OWNER == me -> me = MAKE(slot, NEXT(GEN(me)))
		:: else
		fi
#endif
	}
	OR_DIE;
	if /* claim: generation.Store(next) */
	:: atomic { true -> generation[slot] = GEN(me);
		assert(!LIVES(me));  /* no two open handles have the same identity */
		assert(OWNER != me); /* the word does not name a handle that has not locked it */
		live[id] = me }
	OR_DIE;
#endif

round:
	atomic {
		w = 0; flags = 0; died = false; try = false; woken[id] = false;
		if
		:: locks == LOCKS -> goto leave
		:: locks < LOCKS -> locks++
		:: locks < LOCKS -> locks++; try = true
		fi
	};
	if /* Lock, TryLock, takeFree: m.word.TryLock() */
	:: atomic { word == 0 -> word = me; acquired(); goto locked }
	:: word != 0
	OR_DIE;
look:
	if /* compete: m.verdict(ctx.Err()) */
	:: true
	:: !try && flags != 0 -> goto give_up
	fi;
	if /* compete, tryLockSlow: w := m.word.Word.Load() */
	:: w = word
	OR_DIE;
	if /* compete, tryLockSlow: owner == 0, m.tryTake(w, flags) */
	:: (w & IDENT) == 0 ->
		try_take();
		if
		:: try -> goto round
		:: else -> goto look
		fi
	:: else
	fi;
/* the hundred looks before it asks are looks at the word like this one */
#if PART == SLEEP
	if /* !m.owners.Alive(owner) */
	:: !LIVES(w & IDENT) -> goto take_over
	:: LIVES(w & IDENT)
	OR_DIE;
#else
	sure[id] = !LIVES(w & IDENT) && (!held[SLOT(w)] || GEN(w) != generation[SLOT(w)]);
	if /* Alive: if id == m.ident { return true } */
	:: (w & IDENT) == me -> goto alive
	:: else
	fi;
#ifndef MUTANT_GENERATION_NOT_COMPARED
	if /* Alive: if generation.Load() != id.Generation() { return false } */
	:: generation[SLOT(w)] != GEN(w) -> goto take_over
	:: generation[SLOT(w)] == GEN(w)
	OR_DIE;
#endif
	if /* Alive: held, err := m.obj.Held(id.Slot()) */
	:: !held[SLOT(w)] -> goto take_over
	:: held[SLOT(w)]
	OR_DIE;
#ifndef MUTANT_GENERATION_NOT_COMPARED
	if /* Alive: return held && generation.Load() == id.Generation() */
	:: generation[SLOT(w)] != GEN(w) -> goto take_over
	:: generation[SLOT(w)] == GEN(w)
	OR_DIE;
#endif
alive:
	assert(!sure[id]); /* a dead owner is not taken for alive, except while its slot is being claimed */
#endif
#ifdef MUTANT_TAKES_FROM_THE_LIVING
	if
	:: goto take_over
	:: true
	fi;
#endif
	if /* tryLockSlow: taken is false */
	:: try -> goto round
	:: else
	fi;
	if /* compete: if w&layout.WaitersBit == 0 */
	:: w & WAITERS
	:: !(w & WAITERS) ->
		if /* m.word.Word.CompareAndSwap(w, w|layout.WaitersBit) */
		:: atomic { word == w -> w = w | WAITERS; word = w }
		:: word != w -> goto look
		OR_DIE
	fi;
	if /* m.queue.Wait(w, limit): the kernel's look at the word and the sleep are one step */
#ifdef MUTANT_SLEEPS_BLINDLY
	:: atomic { true -> asleep[id] = true; woken[id] = false }
#else
	:: atomic { word == w -> asleep[id] = true; woken[id] = false }
	:: word != w
#endif
	OR_DIE;
	if
	:: !asleep[id]
	:: atomic { asleep[id] && (!calm || excused[id] || OWNER != 0 && !LIVES(OWNER)) -> /* limit */
		asleep[id] = false; excused[id] = false }
	OR_DIE;
#ifndef MUTANT_PARKED_LOSES_WAITERS
	flags = WAITERS; /* flags = layout.WaitersBit */
#endif
	atomic { w = 0; goto look };

take_over:
	try_take(); /* compete, tryLockSlow: the owner is dead, m.tryTake(w, flags) */
	if
	:: try -> goto round
	:: else -> goto look
	fi;

give_up:
#if PART == REUSE
	assert(!ANY(ASLEEP)); /* of two handles, none sleeps while the other gives up, so there is none to wake */
#elif !defined(MUTANT_GIVES_UP_SILENTLY)
	if /* if flags != 0 { m.queue.Wake() }: it may have been woken in place of another */
	:: atomic { true -> wake_one(); woken[id] = false }
	OR_DIE;
#endif
	goto round;

locked:
#if PART == REUSE
	if
	:: true
	:: goto disown /* the handle was closed, and its memory retired before acquired could release the word */
	fi;
#endif
	if
	:: died ->
#if PART == REUSE
		if
		:: atomic { true -> dirty = false }            /* restore: m.repair() */
		:: flags = INCONSISTENT; goto release          /* restore: m.release(layout.InconsistentBit) */
		OR_DIE;
#else
		dirty = false;
#endif
		if /* restore: m.word.Word.CompareAndSwap(w, w&^layout.InconsistentBit), until it succeeds */
		:: atomic { true -> word = word & ~INCONSISTENT; died = false }
		OR_DIE
	:: else
	fi;
	assert(!dirty); /* after Lock the guarded data is repaired */

release:
	if /* release: w := m.word.Word.Load(); m.word.Word.CompareAndSwap(w, w&layout.InconsistentBit|flags), until it succeeds.
	      Unlock's m.word.TryUnlock() is the first try of the same. */
#ifdef MUTANT_UNLOCK_STORES
	:: w = word
	OR_DIE;
	if
	:: atomic { true ->
#else
	:: atomic { true -> w = word;
#endif
		assert(OWNER == me); /* the mutex was not taken from its owner */
		word = (w & INCONSISTENT) | flags;
		holder = 0;
		waking[id] = (w & WAITERS) != 0;
		w = 0; flags = 0 }
	OR_DIE;
	if /* if w&layout.WaitersBit != 0 { m.queue.Wake() } */
	:: atomic { waking[id] -> wake_one() }
	:: !waking[id]
	OR_DIE;
	goto round;

#if PART == REUSE
disown:
	if /* disown: old := mutex.Load() */
	:: w = word
	OR_DIE;
	if /* disown: mutex.CompareAndSwap(old, old&layout.InconsistentBit), until it succeeds */
#ifdef MUTANT_DISOWN_FORGETS
	:: atomic { word == w -> word = 0; holder = 0; waking[id] = true }
#else
	:: atomic { word == w -> word = w & INCONSISTENT; holder = 0; waking[id] = true }
#endif
#ifdef MUTANT_DISOWNS_ONCE
	:: atomic { word != w -> holder = 0; goto leave }
#else
	:: word != w -> goto disown
#endif
	OR_DIE;
	if /* disown: queue.Wake() */
	:: atomic { true -> wake_one() }
	OR_DIE;
#endif

leave: /* unlinkIfLast: m.obj.Drop(m.ident.Slot()), which has the same effect on the others as a death */
dead:
	atomic {
		if
		:: holder == 1 + id -> holder = 0; dirty = true
		:: else
		fi;
		asleep[id] = false;
		if
		:: waking[id] || woken[id] -> EXCUSE(0); EXCUSE(1)
#if HANDLES == 3
			; EXCUSE(2)
#endif
		:: else
		fi;
		waking[id] = false; woken[id] = false; excused[id] = false; sure[id] = false;
		live[id] = 0;
#if PART == REUSE
		held[slot] = false;
		slot = 0; me = 0; w = 0; flags = 0; died = false; try = false;
		goto open
#endif
	};
done:
	skip
}

#define DUE(h) (waking[h] || woken[h])
#define FORGOTTEN(h) (asleep[h] && !excused[h])

active proctype monitor() {
	bool sleeper_is_forgotten;
end_never:
	atomic {
		ANY(FORGOTTEN) && !ANY(DUE) && (OWNER == 0 || LIVES(OWNER) && !(word & WAITERS)) -> sleeper_is_forgotten = true;
		assert(!sleeper_is_forgotten) /* no handle sleeps when the owner is not dead and no live process will wake it */
	}
}

init {
	atomic {
#if PART == REUSE
		if
		:: true
		/* Slot 0 is about to reuse the generation in which an owner died, a million holders ago. */
		:: generation[0] = 7; word = MAKE(0, 1); dirty = true
		fi;
#endif
		run handle(0);
		run handle(1);
#if HANDLES == 3
		run handle(2);
		live[0] = MAKE(0, 1); live[1] = MAKE(1, 1); live[2] = MAKE(2, 1)
#endif
	};
	calm = true
}
