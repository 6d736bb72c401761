/*
 * The Event: sync/event.go, with the waiting of internal/notify's Notifier. Processes that set or reset the event, and
 * waiters, die at any step. A comment that quotes Go stands at the statement that models it.
 *
 * Unlike the writers of publish.pml, processes that set and reset the event do not exclude each other.
 *
 * Memory is sequentially consistent here. Only one goroutine of each handle waits.
 */

#ifndef CHANGES
#define CHANGES 3 /* Sets and Resets in total */
#endif
#ifndef WAITS
#define WAITS 2   /* in total */
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

byte word;        /* odd while the event is set */
byte flag;
bool asleep[2];   /* the kernel's view */

/* Only for the assertions. */
byte begun[2];    /* the word when the wait began */
bool sets[2];     /* is in Set */
bool late[2];     /* since it armed, a process died in Set */
byte changes, waits, deaths;

#define OVER(w, id) (((w) & 1) || (w) != begun[id]) /* what Wait waits for */

/* Between any two accesses to shared data a process continues or is killed. */
#define OR_DIE :: atomic { deaths < DEATHS -> deaths++; goto dead }; fi

inline disarm() { /* n.src.Flag.Load() != 0 && n.src.Flag.Swap(0) != 0 */
	armed = false;
	if
	:: flag != 0
	:: atomic { flag == 0 -> goto change }
	OR_DIE;
	if
	:: atomic { true -> armed = (flag != 0); flag = 0 }
	OR_DIE
}

proctype changer(byte id) {
	byte now;
	bool armed;

round:
	atomic {
		sets[id] = false; armed = false; now = 0;
		if
		:: changes == CHANGES -> goto done
		:: changes < CHANGES -> changes++; sets[id] = true
		:: changes < CHANGES -> changes++
		fi
	};
#ifdef MUTANT_RESET_DISARMS
	disarm();
#elif !defined(MUTANT_FLAG_AFTER)
	if
	:: sets[id] -> disarm()
	:: !sets[id]
	fi;
#endif
change:
	if /* now := e.word.Load() */
	:: now = word
	OR_DIE;
	if
	:: (now & 1) && sets[id] ->
#ifdef MUTANT_SET_AGAIN_SILENT
		goto round
#else
		goto notify
#endif
	:: !(now & 1) && !sets[id] -> goto round
	:: !(now & 1) && sets[id]
	:: (now & 1) && !sets[id]
	fi;
	if /* e.word.CompareAndSwap(now, now+1) */
	:: atomic { word == now -> word = now + 1 }
	:: word != now -> goto change
	OR_DIE;
	if
	:: sets[id] -> goto notify
	:: !sets[id] -> goto round
	fi;
notify:
	if /* armed || n.src.Flag.Load() != 0 */
#ifdef MUTANT_FLAG_AFTER
	:: atomic { flag != 0 -> flag = 0 }
	:: atomic { flag == 0 -> goto round }
#elif defined(MUTANT_ONE_LOOK)
	:: armed
	:: atomic { !armed -> goto round }
#else
	:: armed || flag != 0
	:: atomic { !(armed || flag != 0) -> goto round }
#endif
	OR_DIE;
	if /* n.src.Sleep.Wake(old) */
	:: atomic { true -> asleep[0] = false; asleep[1] = false }
	OR_DIE;
	goto round;

dead:
	atomic {
		if
		:: sets[id] -> late[0] = true; late[1] = true
		:: else
		fi;
		goto round
	};
done:
	skip
}

proctype waiter(byte id) {
	byte s;

round:
	atomic {
		s = 0; begun[id] = 0; late[id] = false;
		if
		:: waits == WAITS -> goto done
		:: waits < WAITS -> waits++
		fi
	};
	if /* begun, first = now, false */
	:: begun[id] = word
	OR_DIE;
	if
	:: begun[id] & 1 -> goto round
	:: !(begun[id] & 1)
	fi;
arm:
	if /* doArm: now := n.src.Word.Load() */
	:: s = word
	OR_DIE;
	if /* n.src.Flag.Store(1) */
	:: atomic { true -> flag = 1; late[id] = false }
	OR_DIE;
	if /* ready: now&1 != 0 || now != begun */
#ifdef MUTANT_RESET_HIDES_SET
	:: atomic { word & 1 -> goto round }
	:: !(word & 1)
#else
	:: atomic { OVER(word, id) -> goto round }
	:: !OVER(word, id)
#endif
	OR_DIE;
	if /* sleep while the word is what it was */
	:: atomic { word == s -> asleep[id] = true; s = 0 }
	:: atomic { word != s -> s = 0; goto arm }
	OR_DIE;
end_asleep: /* for ever, if no process sets the event */
	if
	:: !asleep[id] -> goto arm
	:: atomic { asleep[id] && late[id] -> asleep[id] = false; goto arm } /* limit */
	OR_DIE;

dead:
	atomic { asleep[id] = false; goto round };
done:
	skip
}

#define FORGOTTEN(id) (asleep[id] && !late[id] && OVER(word, id))

active proctype monitor() {
	bool sleeper_is_forgotten;
end_never:
	atomic {
		(FORGOTTEN(0) || FORGOTTEN(1)) && !sets[0] && !sets[1] -> sleeper_is_forgotten = true;
		assert(!sleeper_is_forgotten) /* no handle sleeps after a Set, unless a process died in Set */
	}
}

init {
	atomic {
		run changer(0);
		run changer(1);
		run waiter(0);
		run waiter(1)
	}
}
