/* From the stream to the receiver: one partition whose stream holds EVENTS events of one row (numbered in the order of their commits),
 * one group, one receiver, and TENURES tenures of the partition's lease, whichever workers they belong to.
 *
 * The lease runs out whenever it likes. A tenure that has lost it may sleep at any place and go on at any later time, as a worker that
 * was stopped does, or never, as one that was killed; its own clock, by which it would end, is taken for broken. What it asks of Redis
 * may be done without its hearing of it. The receiver may fail, and is called again.
 *
 * With OLDER_COPY, Redis comes back once with a copy of an earlier time, which has every entry. Leases end in time then: a tenure whose
 * lease is lost calls nobody. The last call must be for the newest event.
 *
 * Every atomic or d_step below is one Lua script or one transaction; README.md says which, and lists the flags. What happens to numbers of
 * entries when Redis loses something is in publish.pml. */

#ifndef EVENTS
#define EVENTS 3
#endif
#ifndef TENURES
#define TENURES 3
#endif
#define BIT(k) (1 << (k))
#define UPTO(k) (BIT((k) + 1) - 2)               /* events 1 to k */

/* Redis. */
byte begun;                                      /* tenures so far: they are alike, so they begin in order */
byte holder;                                     /* the tenure that has the lease; 0: it is free */
byte position;                                   /* what the group has read last */
byte owner[EVENTS + 1];                          /* the tenure that has an entry and has not finished it */
byte settled;                                    /* entries that are finished */
byte writes;                                     /* the number of the last write of a tenure; with OLDER_COPY only */

#ifdef OLDER_COPY
bool copied, restored;
byte copy_position, copy_settled, copy_writes;
byte copy_owner[EVENTS + 1];
#endif

/* The receiver's database. */
byte inbox;                                      /* the row's last sequence */
byte effects;
byte last;                                       /* the event of the last call; with OLDER_COPY only */

byte i;                                          /* scratch of single d_steps, 0 between them */

/* Takes the oldest entry that a former tenure left. */
inline claim() {
    for (i : 1 .. EVENTS) {
        if
#ifdef OLDER_COPY                                /* fetch looks no further back than what this tenure has read */
        :: got < count && owner[i] != 0 && owner[i] != me && i > upto -> owner[i] = me; hand = hand | BIT(i); got++; upto = i
#else
        :: got < count && owner[i] != 0 && owner[i] != me -> owner[i] = me; hand = hand | BIT(i); got++
#endif
        :: else
        fi
    }
    i = 0
}

inline read_new() {
    do
    :: got < count && position < EVENTS -> position++; owner[position] = me; hand = hand | BIT(position); got++
    :: else -> break
    od
#ifdef OLDER_COPY
    if
    :: position > upto -> upto = position
    :: else
    fi
#endif
}

inline effect(k) {
#ifdef INBOX
    assert(effects == UPTO(k - 1));              /* once, and in order */
#else
    assert((effects & UPTO(k - 1)) == UPTO(k - 1));                /* the first time in order */
# ifdef ONCE
    assert(!(effects & BIT(k)));
# endif
#endif
    effects = effects | BIT(k);
#ifdef OLDER_COPY
    last = k;
#endif
    printf("  tenure %d: effect of event %d\n", me, k)
}

/* Entries that a tenure has read are unfinished again, or come again. */
#define OTHERS(i) (owner[i] != 0 && owner[i] != me && i <= upto)
#define COME_BACK (position < upto || OTHERS(1) || OTHERS(2) || (EVENTS > 2 && OTHERS(EVENTS)))

#define ALL (settled == UPTO(EVENTS))

active proctype Time() {
    do
    :: d_step { holder != 0 && !ALL -> printf("the lease of tenure %d runs out\n", holder); holder = 0 }
#ifdef OLDER_COPY
    :: d_step { !copied -> copied = true; copy_position = position; copy_settled = settled; copy_writes = writes;
            for (i : 1 .. EVENTS) { copy_owner[i] = owner[i] }
            i = 0
        }
    :: d_step { copied && !restored && !ALL -> restored = true; position = copy_position; settled = copy_settled; writes = copy_writes;
            for (i : 1 .. EVENTS) { owner[i] = copy_owner[i]; copy_owner[i] = 0 }
            i = 0; copy_position = 0; copy_settled = 0; copy_writes = 0;
            printf("an older copy comes back\n")
        }
#endif
    :: ALL -> break
    od
}

proctype Tenure(byte me) {
    byte hand;                                   /* entries that were read and are not finished */
    byte done;                                   /* entries that are finished and not settled */
    byte before;                                 /* what was in hand before a fetch */
    byte count, got, k;
    byte confirmed;                              /* the last write that Redis has confirmed to this tenure */
    byte number;                                 /* of the write at hand; with OLDER_COPY only */
    byte upto;                                   /* the last new entry that was read; with OLDER_COPY only */
    bool inherit = true, reading = true;

    d_step { holder == 0 && begun == me - 1 && !ALL -> begun = me; holder = me; printf("tenure %d begins\n", me) }      /* acquire.lua */
    do
    :: atomic { reading && hand != UPTO(EVENTS) ->
            before = hand; got = 0;
            if
            :: count = 1
            :: count = 2
            fi
#ifndef SPLIT_FETCH
            ;
            d_step {                             /* fetch.lua */
                if
# ifndef NO_LEASE_IN_FETCH
                :: holder != me || writes < confirmed -> reading = false; hand = 0
# endif
# ifdef OLDER_COPY
                :: holder == me && writes >= confirmed && COME_BACK -> reading = false; hand = 0
# endif
                :: else ->
# ifdef NEW_FIRST
                    read_new();
                    if
                    :: got == 0 -> claim()
                    :: else
                    fi
# else
#  ifndef NOTHING_INHERITED
                    if
                    :: inherit -> claim()
                    :: else
                    fi;
#  endif
                    if
                    :: got == 0 -> inherit = false; read_new()
                    :: else
                    fi
# endif
                fi
            }
#endif
        }
#ifdef SPLIT_FETCH                               /* the lease is checked, unfinished entries are claimed, new ones are read */
        if
        :: d_step { holder != me -> reading = false; hand = 0 }
        :: holder == me ->
            d_step {
                if
                :: inherit -> claim()
                :: else
                fi
            }
            d_step {
                if
                :: got == 0 -> inherit = false; read_new()
                :: else
                fi
            }
        fi;
#endif
        d_step { count = 0; printf("tenure %d: has %d of row\n", me, hand) }
        if
        :: reading -> d_step { got = 0; before = 0 }               /* the answer arrives */
#ifdef ACKNOWLEDGED_FIRST
            d_step {
                for (i : 1 .. EVENTS) {
                    if
                    :: holder == me && (hand & BIT(i)) -> owner[i] = 0; settled = settled | BIT(i)
                    :: else
                    fi
                }
                i = 0
            }
#endif
        :: reading ->                            /* the answer is lost: the tenure ends (session.doubt) */
#ifdef NO_DOUBT
            d_step { hand = before; got = 0; before = 0 }
#else
            d_step { hand = before; got = 0; before = 0; reading = false }
            if
            :: hand = 0                          /* nothing was running */
            :: d_step {                          /* the first of the lane was */
                    k = 1;
                    do
                    :: k <= EVENTS && !(hand & BIT(k)) -> k++
                    :: else -> break
                    od;
                    hand = hand & BIT(k);
                    k = 0
                }
            fi
#endif
        :: !reading -> d_step { got = 0; before = 0 }
        fi

    /* A lane: the receiver is called with the first of the row's events in hand. That it fails changes nothing: it stays the first. */
#ifdef OLDER_COPY
    :: holder != me && hand != 0 -> reading = false; hand = 0      /* leases end in time */
    :: atomic { hand != 0 && holder == me ->
#else
    :: hand != 0 ->
        atomic {
#endif
            k = 1;
            do
            :: k <= EVENTS && !(hand & BIT(k)) -> k++
#ifdef NO_LANES
            :: hand & BIT(k) && (hand >> (k + 1)) != 0 -> k++      /* another one goes first */
#endif
            :: k > EVENTS || hand & BIT(k) -> break
            od
#ifndef OLDER_COPY                               /* a lease may run out between the choice and the call */
        }
#endif
        ;
#if defined(INBOX) && defined(INBOX_APART)       /* the inbox and the writes are two transactions */
        if
        :: d_step { k > inbox -> inbox = k }; effect(k)
        :: k <= inbox
        fi;
        d_step { hand = hand & ~BIT(k); done = done | BIT(k); k = 0 }
#else
        d_step {                                 /* executor._once: inbox.advance and the receiver's writes */
            if
# if defined(INBOX) && !defined(INBOX_COMPARES_NOTHING)
            :: k <= inbox
            :: else -> inbox = k; effect(k)
# else
            :: else -> effect(k)
# endif
            fi;
            hand = hand & ~BIT(k); done = done | BIT(k); k = 0
        }
#endif
#ifdef OLDER_COPY
        }
#endif
    :: done != 0 ->
        d_step {                                 /* settle.lua */
            if
#ifndef NO_LEASE_IN_SETTLE
            :: holder != me || writes < confirmed -> reading = false; hand = 0
#endif
            :: else ->
#ifdef OLDER_COPY
                if                               /* a repeated call would count without end */
                :: (settled & done) != done -> writes++
                :: else
                fi;
                number = writes;
#endif
                for (i : 1 .. EVENTS) {
                    if
                    :: done & BIT(i) -> owner[i] = 0; settled = settled | BIT(i)
                    :: else
                    fi
                }
            fi;
            i = 0
        }
        if
#if defined(OLDER_COPY) && !defined(NO_WRITES)
        :: d_step { done = 0; confirmed = number; number = 0 }
#else
        :: done = 0
#endif
        :: true                                  /* the answer is lost: it is said again */
        fi

    :: reading && !ALL -> reading = false; hand = 0                /* asked to finish, or told by a renewal that the lease is gone */
    :: atomic { !reading && hand == 0 && done == 0 -> break }
    :: ALL -> break
    od;
    atomic {                                     /* release.lua */
        if
        :: holder == me -> holder = 0
        :: else
        fi;
        hand = 0; done = 0; before = 0; count = 0; got = 0; k = 0; inherit = false; reading = false;
        confirmed = 0; number = 0; upto = 0
    }
}

init {
    atomic {
        byte t;
        for (t : 1 .. TENURES) { run Tenure(t) }
        t = 0
    }
    ALL;
#ifdef REACHED
    assert(false);
#endif
    assert(effects == UPTO(EVENTS));             /* nothing is lost */
#ifdef OLDER_COPY
    assert(last == EVENTS)                       /* the receiver is left with the newest state */
#endif
}
