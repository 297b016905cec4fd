"""The columns of the clean table: what is known about a flight when the hour of its departure begins."""

# Which flight it is; no model sees these.
FLIGHT = ("month", "day", "time_hour", "flight")

# From the timetable.
CATEGORIES = ("carrier", "origin", "dest")
CALENDAR = ("weekday", "hour")
TIMETABLE = ("distance", "scheduled_departures")

# As observed at the airport one hour earlier.
WEATHER = ("temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib")

# Mean departure delay of the planes that left in the hour before.
DELAYS = ("airport_delay", "carrier_delay")

NUMBERS = (*TIMETABLE, *WEATHER, *DELAYS)

# Minutes late at the gate of the destination; early arrivals are negative.
TARGET = "arr_delay"

COLUMNS = (*FLIGHT, *CATEGORIES, *CALENDAR, *NUMBERS, TARGET)
