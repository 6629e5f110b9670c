"""The commands of `flowq schedules`."""
