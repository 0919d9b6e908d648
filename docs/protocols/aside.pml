/* Receivers set aside: one partition with EVENTS events of two rows (or of one, ONE_ROW), group G with the receivers A and B. B reads in a
 * group of its own, G/B, while it is set aside.
 *
 * With MISSING, one program of the group has B and the other has not, and either may have a tenure of G next. With PAUSE, both have B,
 * and an operator pauses it once and resumes it. With KILL, an operator deletes G/B once.
 *
 * A tenure may end at any step, with the call that runs: its lease ran out, it was killed, or it gave the partition up. The call may then
 * have had its effect or not. Tenures that go on after their lease, and losses of Redis, are in consume.pml and publish.pml.
 *
 * Entries have the numbers of their events. Every atomic or d_step below is one Lua script, or one step of a receiver; README.md says
 * which, and lists the flags. */

#ifndef EVENTS
#define EVENTS 2
#endif
#define BIT(k) (1 << (k))
#define UPTO(k) (BIT((k) + 1) - 2)               /* events 1 to k */
#define LEAST(set) ((set) & -(set))
#define BELOW_LEAST(set) (LEAST(set) - 1)
#ifdef ONE_ROW
#define ROW(k) 0
#else
#define ROW(k) ((k) & 1)
#endif
#ifdef ONE_ROW
#define SAME_ROW(k) UPTO(EVENTS)
#else
#define SAME_ROW(k) (((k) & 1) -> 170 : 84)      /* the odd and the even events */
#endif

/* States of B in `aside`; HERE: it takes part in G. */
#define HERE 0
#define MOVING 1
#define ASIDE 2
#define DUE 3

/* Redis. */
byte published;
byte removed;                                    /* entries that were trimmed, always the oldest */
byte position, pending;                          /* of G */
byte noted;                                      /* unfinished entries of G that B has finished (note.lua) */
byte state;
byte moved;                                      /* while MOVING: what is unfinished up to there is in G/B */
byte floor;
bool own_exists;
byte own_position, own_pending;                  /* of G/B */
bool own_lease;

/* The receivers. */
byte a_handled, b_handled;
byte b_last[2];                                  /* the event of a row with which B was called last */
byte b_known;                                    /* events of which Redis knows that B has finished them */
byte call, own_call;                             /* the event with which B is called in G, in G/B */

bool paused, operator_done, killer_done, over;
byte k;                                          /* scratch of single steps, 0 between them */

inline begin_call(event, other) {
    printf("  B begins event %d\n", event);
    assert((b_handled & SAME_ROW(event) & UPTO(event - 1)) == (SAME_ROW(event) & UPTO(event - 1)));       /* the first time in order */
    assert(other == 0);                          /* never two calls of B in both groups */
#ifdef ONCE
    assert(!(b_known & BIT(event)));
#endif
}

inline end_call(event) {
    printf("  B ends event %d\n", event);
    b_handled = b_handled | BIT(event);
    b_last[ROW(event)] = event
}

/* Events of a set that are the first of their lanes. */
#define FIRST(event, set) (((set) & BIT(event)) && !((set) & SAME_ROW(event) & UPTO(event - 1)))

inline choose(set) {
    if
    :: FIRST(1, set) -> k = 1
    :: FIRST(2, set) -> k = 2
#if EVENTS > 2
    :: FIRST(3, set) -> k = 3
#endif
    fi
}

/* arrange.lua. `without_b`: this tenure leaves B out. */
#ifdef RETURNS_UNFINISHED
#define ALL_FINISHED true
#else
#define ALL_FINISHED (own_pending == 0)
#endif
#ifdef RETURNS_BEHIND
#define CAUGHT_UP true
#else
#define CAUGHT_UP (own_position >= position)
#endif
#ifdef RETURNS_BESIDE_TENURE
#define NO_TENURE true
#else
#define NO_TENURE (!own_lease)
#endif
#define CAN_RETURN (own_exists && ALL_FINISHED && CAUGHT_UP && NO_TENURE)

inline set_aside() {
    printf("B is set aside at %d, unfinished %d\n", position, pending);
    own_exists = true; own_position = position; own_pending = 0; moved = floor;
#ifndef BEGINS_AT_GROUP                          /* B may have come back ahead of the group of all */
    if
    :: floor > position -> own_position = floor
    :: else
    fi;
#endif
    floor = 0;
#ifdef NOT_MOVED
    state = ASIDE; moved = 0
#else
    state = MOVING
#endif
}

inline bring_back() {
    printf("B comes back, floor %d\n", own_position);
#ifndef NO_FLOOR
    floor = own_position;
#endif
    state = HERE; own_exists = false; own_position = 0; own_pending = 0
}

/* A page of one entry. */
inline move() {
    k = moved + 1;
    do
    :: k <= EVENTS && !(pending & BIT(k)) -> k++
    :: else -> break
    od;
    if
    :: k > EVENTS -> state = ASIDE; moved = 0
    :: else -> moved = k;
        if
#ifndef FINISHED_MOVED
        :: noted & BIT(k)
#endif
        :: else -> own_pending = own_pending | BIT(k)
        fi
    fi;
    k = 0
}

inline arrange() {
    if
    :: state == HERE && without_b -> set_aside()
    :: (state == ASIDE || state == DUE) && !without_b ->
        state = DUE;
        if
        :: CAN_RETURN -> bring_back()
        :: else
        fi
    :: state == DUE && without_b -> state = ASIDE
    :: else
    fi;
    if
    :: state == MOVING -> move()
    :: else
    fi
}

/* The entries in hand that B is left out of. */
#define LEFT_OUT (state != HERE -> UPTO(EVENTS) : UPTO(floor))

inline take(set) {
    hand = hand | (set);
    for_a = for_a | (set);
    for_b = for_b | ((set) & ~noted & ~LEFT_OUT);
    left_out = left_out | ((set) & LEFT_OUT)
}

/* Tenures of G, one after the other. */
active proctype Group() {
    bool without_b;
    byte hand;                                   /* entries that were read and are not settled */
    byte for_a, for_b;                           /* entries for which a call is to be made */
    byte left_out;                               /* entries that B was left out of when they were read */
    bool inherits;

    do
    :: over -> break
    :: atomic { !over ->                         /* acquire.lua */
            inherits = true;
#ifdef PAUSE
            without_b = paused
#else
            if
            :: without_b = true
            :: without_b = false
            fi
#endif
        };
        do                                       /* before the first read: a page at a time */
        :: d_step { arrange() };
            if
            :: state != MOVING -> break
            :: state == MOVING
            :: state == MOVING -> goto end       /* the next tenure goes on */
            fi
        od;
        do
        :: goto end
        /* Whether B can come back, or is left out of the tenure after all. */
        :: d_step { state != HERE ->
#ifdef PAUSE
                without_b = paused;
#endif
                arrange()
            }
#ifdef PAUSE
        :: d_step { paused && !without_b && state == HERE && call == 0 && hand == 0 -> k = 0 };
            goto end                             /* must_begin_anew: no new call, the running calls have ended */
# ifdef NO_DRAIN
        :: d_step { paused && !without_b && state == HERE -> without_b = true; arrange();
                left_out = left_out | for_b; for_b = 0 }
# endif
#endif
        :: d_step { inherits ->                  /* fetch.lua: what former tenures left */
                inherits = false;
                take(pending)
            }
        :: d_step { !inherits && state != MOVING && position < published ->                /* fetch.lua: a new entry */
                position = (position < removed -> removed : position);
                if
                :: position < published ->
                    position++; pending = pending | BIT(position);
                    take(BIT(position))
                :: else
                fi
            }
        :: d_step { for_a != 0 -> choose(for_a);  /* A, in one step */
                assert((a_handled & SAME_ROW(k) & UPTO(k - 1)) == (SAME_ROW(k) & UPTO(k - 1)));
                a_handled = a_handled | BIT(k); for_a = for_a & ~BIT(k); k = 0
            }
        :: d_step { for_b != 0 && call == 0 -> choose(for_b); call = k; k = 0; begin_call(call, own_call) }
        :: d_step { call != 0 -> end_call(call); for_b = for_b & ~BIT(call); call = 0 }
        :: d_step { (hand & ~for_b & ~left_out & ~noted & ~BIT(call)) != 0 ->              /* note.lua */
                noted = noted | (hand & ~for_b & ~left_out & ~BIT(call));
                b_known = b_known | noted
            }
        :: atomic { (hand & ~for_a & ~for_b) != 0 ->                                       /* settle.lua */
                k = hand & ~for_a & ~for_b;
                if
#ifndef NO_SETTLE_CHECK
                :: state == HERE && (k & left_out & ~UPTO(floor)) -> k = 0; goto end
#endif
                :: else ->
                    b_known = b_known | (k & ~left_out);
                    pending = pending & ~k; hand = hand & ~k; noted = noted & ~k; left_out = left_out & ~k; k = 0
                fi
            }
        od;
end:
        atomic { hand = 0; for_a = 0; for_b = 0; left_out = 0; call = 0; inherits = false; without_b = false }    /* release.lua */
    od
}

#ifdef READ_WHILE_MOVING
#define READABLE (state != HERE)
#elif defined(MADE_AGAIN)
#define READABLE true
#else
#define READABLE (state == ASIDE || state == DUE)
#endif

/* Tenures of G/B. A worker may begin one although B has come back: its list of receivers that are aside is old. */
active proctype Own() {
    byte hand, done;
    byte upto;                                   /* the last entry that the tenure has read or taken over */
    bool inherits;

    do
    :: over -> break
    :: d_step { !over && !paused -> own_lease = true; inherits = true };                   /* acquire.lua */
        do
        :: goto end
        :: atomic { inherits || own_position < published || !own_exists ->                 /* fetch.lua */
                if
                :: !READABLE -> goto end
                :: else
                fi;
                if
                :: !own_exists -> own_exists = true; own_position = 0; own_pending = 0
                :: else
                fi;
                if
                :: inherits && own_pending != 0 ->
                    hand = own_pending; inherits = false;
                    upto = (hand & BIT(EVENTS) -> EVENTS : (hand & BIT(2) -> 2 : 1))
                :: else ->
                    inherits = false;
                    if
                    :: state == DUE && own_position >= position      /* waits for G */
                    :: else ->
                        own_position = (own_position < removed -> removed : own_position);
                        if
                        :: own_position < published ->
                            own_position++; own_pending = own_pending | BIT(own_position);
                            if
                            :: own_position <= upto -> goto end      /* Intake: not after what it has read */
                            :: else -> hand = hand | BIT(own_position); upto = own_position
                            fi
                        :: else
                        fi
                    fi
                fi
            }
        :: d_step { hand != 0 && own_call == 0 -> choose(hand); own_call = k; k = 0; begin_call(own_call, call) }
        :: d_step { own_call != 0 -> end_call(own_call); hand = hand & ~BIT(own_call); done = done | BIT(own_call); own_call = 0 }
        :: d_step { done != 0 ->                 /* settle.lua */
                own_pending = own_pending & ~done; b_known = b_known | done; done = 0
            }
        od;
end:
        atomic { own_lease = false; hand = 0; done = 0; own_call = 0; upto = 0; inherits = false }         /* release.lua */
    od
}

/* progress.lua: a set of entries below which everything is finished. */
#define FINISHED_G (pending -> BELOW_LEAST(pending) : UPTO(position) | 1)
#define FINISHED_OWN (own_pending -> BELOW_LEAST(own_pending) : UPTO(own_position) | 1)
#ifdef OWN_GROUP_TRIMMED
#define FINISHED FINISHED_G
#elif defined(MISSING_OWN_GROUP)
#define FINISHED (FINISHED_G & (own_exists -> FINISHED_OWN : 255))
#else
#define FINISHED (FINISHED_G & (state == HERE -> 255 : (own_exists -> FINISHED_OWN : 1)))
#endif

active proctype Relay() {
    byte asked;

    do
    :: over -> break
    :: d_step { published < EVENTS -> published++ }                  /* publish.lua */
    :: d_step { (FINISHED & ~1) > UPTO(removed) -> asked = FINISHED & ~1 };                /* progress.lua */
        d_step {                                 /* progress.lua, which trims, or refuses */
            if
            :: (asked & ~FINISHED) == 0 ->
                assert((asked & ~(a_handled & b_handled)) == 0);     /* takes nothing unfinished */
                do
                :: asked & BIT(removed + 1) -> removed++
                :: else -> break
                od
            :: else
            fi;
            asked = 0
        }
    od
}

active proctype Operator() {
#ifdef PAUSE
    if
    :: paused = true; paused = false
    :: true
    fi;
#endif
    operator_done = true
}

active proctype Killer() {
#ifdef KILL                                      /* not while entries are moved: arrange.lua fails then */
    if
    :: d_step { own_exists && state != MOVING -> own_exists = false; own_position = 0; own_pending = 0 }
    :: true
    fi;
#endif
    killer_done = true
}

#define OWN_IS_THROUGH (state == HERE || (state != MOVING && own_exists && own_position == EVENTS && own_pending == 0))

init {
    atomic {
        operator_done && killer_done && position == EVENTS && pending == 0 && OWN_IS_THROUGH && removed == EVENTS && call == 0 && own_call == 0 -> over = true
    };
#ifdef REACHED
    assert(false);
#endif
    assert(a_handled == UPTO(EVENTS) && b_handled == UPTO(EVENTS));
#if defined(ONE_ROW)
    assert(b_last[0] == EVENTS)                  /* the newest state stays */
#else
    assert(b_last[EVENTS & 1] == EVENTS && b_last[(EVENTS - 1) & 1] == EVENTS - 1)
#endif
}
