"""Cron expressions in all zones, as cronsim (PyPI) has them.

`cases SEED COUNT` writes cases. A line is `expression|zone|start|minutes...`: the start in minutes since the Unix epoch, and how many
minutes each of the next times comes after the one before it. Starts lie around changes of the clocks.
Of fixed times that fall together at the end of a gap, cronsim names one.

`ask SEED COUNT` writes `expression|zone`; `answer` reads `expression|zone|milliseconds` and writes the
milliseconds of the first time after that, or `-` where cronsim has none.
"""

import random
import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo, available_timezones, reset_tzpath

from cronsim import CronSim

# The zones of the package tzdata, whatever the machine has.
reset_tzpath(())

TIMES = 6
FIRST, LAST = datetime(2025, 1, 1, tzinfo=timezone.utc), datetime(2034, 1, 1, tzinfo=timezone.utc)


def changes(zone):
    """The times at which the clocks of a zone are changed."""
    found, at = [], FIRST
    while at < LAST:
        after = at + timedelta(days=1)
        if at.astimezone(zone).utcoffset() != after.astimezone(zone).utcoffset():
            low, high = at, after
            while high - low > timedelta(minutes=1):
                middle = low + (high - low) / 2
                same = middle.astimezone(zone).utcoffset() == low.astimezone(zone).utcoffset()
                low, high = (middle, high) if same else (low, middle)
            found.append(high)
        at = after
    return found


def field(draw, least, greatest, names=()):
    number = lambda: str(draw.randint(least, greatest))
    kind = draw.randrange(8)
    if kind < 2:
        return "*"
    if kind == 2:
        return f"*/{draw.randint(1, greatest)}"
    if kind == 3:
        # A range of one with a step is read otherwise there.
        low, high = sorted(draw.sample(range(least, greatest + 1), 2))
        return f"{low}-{high}" + draw.choice(["", f"/{draw.randint(1, 5)}"])
    if kind == 4:
        return ",".join(number() for _ in range(draw.randint(2, 4)))
    if kind == 5 and names:
        return draw.choice(names)
    if kind == 6:
        return f"{number()}/{draw.randint(1, greatest)}"
    return number()


MONTHS = "JAN Feb mar APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
DAYS = "SUN Mon tue WED THU FRI SAT".split()


def expression(draw):
    # Mostly every day and in the hours in which clocks are changed.
    minute = field(draw, 0, 59)
    hour = draw.choice([field(draw, 0, 23), field(draw, 0, 3), "*", "2", "0-3", "1,2,3", "*/2"])
    day, month, weekday = "*", "*", "*"
    if draw.random() < 0.3:
        day = draw.choice([field(draw, 1, 28), "L", "1,L"])
        weekday = draw.choice(
            ["*", field(draw, 0, 7, DAYS), f"{draw.randint(0, 7)}L", f"{draw.choice(DAYS)}#{draw.randint(1, 5)}"]
        )
        month = field(draw, 1, 12, MONTHS)
    return f"{minute} {hour} {day} {month} {weekday}"


def times(text, zone, start, count=TIMES):
    """The next times after a start, or none where the expression has none."""
    try:
        found, cron = [], CronSim(text, start.astimezone(zone))
        while len(found) < count:
            # In the second of two equal hours, cronsim goes on from the first.
            shown = next(cron)
            at = shown.astimezone(timezone.utc)
            if at.astimezone(zone).replace(tzinfo=None) != shown.replace(tzinfo=None):
                return []  # a midnight that the clocks leave out
            if at > start and at not in found:
                found.append(at)
    except Exception:
        return []
    return sorted(found)


def minutes(at):
    return int(at.timestamp() // 60)


def all_zones():
    # Where the clocks change by half an hour, cronsim loses some times of the hour behind.
    unlike = {"Australia/Lord_Howe", "Australia/LHI", "Factory", "localtime", "build/etc/localtime"}
    return sorted(available_timezones() - unlike)


def cases(draw, count):
    zones, near = all_zones(), {}
    for number in range(count):
        name = zones[number % len(zones)]
        zone = ZoneInfo(name)
        if name not in near:
            near[name] = changes(zone) or [FIRST]
        offset = timedelta(minutes=draw.randint(-1500, 180))
        start = draw.choice(near[name]) + offset
        text = expression(draw)
        found = times(text, zone, start)
        if len(found) == TIMES:
            before = [start, *found]
            steps = [str(minutes(at) - minutes(last)) for last, at in zip(before, found)]
            print("|".join([text, name, str(minutes(start)), " ".join(steps)]))


def ask(draw, count):
    zones = all_zones()
    for _ in range(count):
        print(f"{expression(draw)}|{draw.choice(zones)}")


def answer():
    for line in sys.stdin:
        text, name, at = line.rstrip("\n").split("|")
        start = datetime.fromtimestamp(int(at) / 1000, timezone.utc)
        found = times(text, ZoneInfo(name), start, 1)
        print(int(found[0].timestamp() * 1000) if found else "-")


match sys.argv[1:]:
    case ["cases", seed, count]:
        cases(random.Random(int(seed)), int(count))
    case ["ask", seed, count]:
        ask(random.Random(int(seed)), int(count))
    case ["answer"]:
        answer()
