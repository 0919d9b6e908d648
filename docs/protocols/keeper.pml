/* The keeper of leases: worker 1 has a partition and makes calls; its event loop may be blocked inside a call at any time. A keeper beside
 * the loop renews the lease and writes until when the lease can be relied on (`valid`). The tenure's timer fires in the loop, reads `valid`
 * again, and only then cancels the call. Worker 2 takes the partition when the lease has run out by the server's clock.
 *
 * Time is in ticks, and both clocks tick together. A tick passes only when a loop that is not blocked has done what is due. A request to
 * the server may arrive at any later time, and so may its answer, or never. With IN_TIME, every renewal begins and is answered in time.
 *
 * README.md says which code the steps stand for, and lists the flags. */

#ifndef LEASE
#define LEASE 4
#endif
#ifndef MAX_BLOCKED
#define MAX_BLOCKED 3
#endif
#ifndef END
#define END 14
#endif
#define PAUSE 1                                  /* between two renewals */

byte now;                                        /* the clock of worker 1; the server's is now + jump */
byte jump;
bool over;

/* The server. */
byte holder = 1;
byte expiry = LEASE;
bool gone; byte gone_at;                         /* the server has forgotten the lease, and when */

/* Worker 1: its term, its loop, its call. */
byte valid = LEASE; bool lost;
byte timer = LEASE; bool wake; bool ended;
bool runs; bool blocked; byte since; bool gil;   /* blocked since when, and whether the keeper stands still, too */
byte woken;                                      /* the tick after the one in which the loop went on */

/* Its keeper. */
byte due = PAUSE; bool asking; byte asked; bool answered; bool answer;

bool runs2;                                      /* worker 2 makes a call */

#ifdef NO_LIMIT
# define GIVEN_UP false
#else
# ifdef LIMIT_FROM_RENEWAL
#  define GIVEN_UP (asked && now > asked + MAX_BLOCKED)
# else
#  define GIVEN_UP (blocked && now >= since + MAX_BLOCKED)
# endif
#endif
#ifdef NO_MARGIN
# define RUN_OUT (now + jump >= expiry)
#else
# define RUN_OUT (now + jump > expiry)
#endif
#ifdef IN_TIME
# define KEEPER_DUE (!gil && !GIVEN_UP && !ended && !lost && (asking || now >= due))
#else
# define KEEPER_DUE false
#endif
#define LOOP_DUE (!blocked && !ended && (now >= timer || wake))
#define WAKING (woken == now + 1)
#define MAY_BEGIN (now < valid && !lost)
#ifdef NO_CHECK
# define CHECKED true
#else
# define CHECKED MAY_BEGIN
#endif

/* When worker 2 may make a call beside worker 1: the loop of worker 1 is blocked (with IN_TIME only after it was given up), has just gone on
 * and has not come to its timer, or the server has lost the lease or time. */
#ifdef IN_TIME
# define EXCUSED (WAKING || jump || (blocked && (gil || now >= since + MAX_BLOCKED + LEASE - PAUSE)) \
                  || (gone && (blocked || now <= gone_at + PAUSE)))
#else
# define EXCUSED (WAKING || jump || blocked || (gone && now <= gone_at + LEASE))
#endif

proctype Clock() {
    do
    :: atomic {
        now < END && !LOOP_DUE && !KEEPER_DUE -> now++;
#if defined(IN_TIME) && !defined(GIL)
        /* a loop that is blocked for ever gives the partition up */
        assert(!(blocked && holder == 1 && !RUN_OUT && now > since + MAX_BLOCKED + LEASE))
#endif
       }
    :: atomic { now == END -> over = true; break }
    od
}

proctype Keeper() {
    do
    :: atomic { !over && !gil && !asking && !ended && !lost && !GIVEN_UP && now >= due -> asking = true; asked = now }
    :: atomic {                                  /* renew.lua */
        !over && asking && !answered ->
        answered = true;
        if
        :: holder == 1 && !(now + jump > expiry) -> expiry = now + jump + LEASE; answer = true
        :: else -> answer = false
        fi
       }
    :: atomic {
        !over && !gil && asking && answered ->
        if
        :: answer ->
#ifdef ANSWER_COUNTS
            valid = now + LEASE
#else
            valid = asked + LEASE
#endif
        :: else ->
            lost = true;
#ifndef NO_WAKE
            wake = true
#endif
        fi;
        asking = false; answered = false; answer = false; due = now + PAUSE
       }
#ifndef IN_TIME
    :: atomic { !over && !gil && asking -> asking = false; answered = false; answer = false; due = now + PAUSE }     /* no answer */
#endif
    :: over -> break
    od
}

proctype Loop() {
    do
    :: atomic { !over && !blocked && !runs && !ended && CHECKED -> runs = true; assert(!runs2 || jump || gone) }
    :: atomic {                                  /* the call returns; settle.lua */
        !over && !blocked && runs ->
        runs = false;
#ifdef NO_FENCE
        assert(holder == 1)
#else
        if
        :: holder == 1 -> assert(!runs2)
        :: else -> ended = true
        fi
#endif
       }
    :: atomic {
        !over && !blocked && runs && !ended && !LOOP_DUE -> blocked = true; since = now;
#ifdef GIL
        if
        :: gil = true
        :: true
        fi
#endif
       }
    :: atomic { !over && blocked -> blocked = false; gil = false; woken = now + 1 }
    :: atomic {                                  /* the timer */
        !over && !blocked && !ended && now >= timer ->
#ifdef NO_REREAD
        assert(!(runs && MAY_BEGIN)); ended = true; runs = false
#else
        if
        :: MAY_BEGIN -> timer = valid
        :: else -> ended = true; runs = false
        fi
#endif
       }
    :: atomic { !over && !blocked && !ended && wake -> wake = false; ended = true; runs = false }
    :: over -> break
    od
}

proctype Second() {
    do
    :: atomic { !over && holder != 2 && (holder == 0 || RUN_OUT) -> holder = 2; runs2 = true; assert(!runs || EXCUSED) }
    :: atomic { !over && runs && runs2 -> assert(EXCUSED); over = over }
    :: over -> break
    od
}

proctype Faults() {
#ifdef GONE
    if
    :: atomic { holder == 1 && !over -> holder = 0; gone = true; gone_at = now }
    :: true
    fi;
#endif
#ifdef JUMP
    if
    :: atomic { !over -> jump = LEASE }
    :: true
    fi;
#endif
    skip
}

init {
    atomic { run Clock(); run Keeper(); run Loop(); run Second(); run Faults() }
#ifdef REACHED
    over -> assert(false)
#endif
}
