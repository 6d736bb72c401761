package mapping

// noReserve is what FreeBSD does without being asked.
const noReserve = 0
