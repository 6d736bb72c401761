package mapping

// noReserve is 0, as FreeBSD never reserves memory for such a mapping.
const noReserve = 0
