// Package step names the moments within an operation at which a process may be
// killed or stopped to see what that does to the others. At marks them in the
// code. It is empty, and compiled to nothing, but under the build tag
// sharedseg_steps, with which a test chooses what happens at one of them.
package step

// Step is a moment in the life of a mapping, its locks and its value.
type Step int

// The steps, in the order in which a process that does everything passes them.
const (
	// Opening. The registry is locked from RegistryLocked to RegistryUnlocking.
	FileCreated Step = iota // there is an empty file that has what the umask left of its mode
	FileModeSet
	FileOpened
	RegistryLocked // the name may have come to lead elsewhere
	Inspected

	// Initialising.
	FileMarked // over what was there
	FileCut    // to its mark
	FileReserved
	HeaderMapped
	HeaderWritten // all but the word that says so
	HeaderReady

	// Attaching, and letting the registry go, after which the handle is open,
	// or closed.
	SlotHeld   // and still of its last holder's generation
	RowCleared // of its last holder's
	GenerationRaised
	HolderPIDSet
	RotorMoved
	ReaderHeld
	RegistryUnlocking
	RegistryUnlocked

	// Locking.
	LockTaken // at once
	LockQueued
	LockWaitersSet
	LockParking
	LockAwake
	LockTaking // free after a wait, or a dead owner's
	LockTakenOver
	LockRepairing // on behalf of a dead owner
	LockRepaired
	LockConsistent

	// Locking for reading and for writing, with an RWMutex.
	ReaderCounted
	ReaderEntered
	ReaderLeaving
	ReaderLeft
	LockDraining // and readers may be there still
	ReadersDrained

	// Acquiring and releasing permits of a Semaphore.
	PermitsTaking
	PermitsUsed
	PermitsTaken
	RowTakenBack
	PermitsCounted
	PermitsReturning
	PermitsUnused
	PermitsReturned
	TellDisarmed

	// Setting and resetting an Event.
	EventChanging
	EventChanged

	// Waiting for a Cond.
	CondEnlisted
	CondReleased // the users' mutex
	CondGranted
	CondRelocked
	CondDelisted
	CondGranting
	CondInherited

	// Reading.
	ReadBegun
	ReadCopied

	// Publishing.
	SlotUnsealed
	WriteBegun
	WriteHalf // of an encoding; for the codecs of tests to mark
	WriteEncoded
	WriteFilled
	SlotSealed
	WatchersDisarmed
	WriteEnded
	RowsSeen    // by a writer that looks for a slot that nobody has borrowed
	SteppedOver // one that is borrowed, or whose version was announced before

	// Borrowing, and lending.
	PinSet
	PinHeld
	PinCleared
	LoanTaken
	LoanReturning

	// Following.
	FollowBegun
	FollowCopied

	// Unlocking, and waking others.
	Unlocking
	Unlocked
	LockWaking
	LockWoken
	WatchersWaking
	WatchersWoken

	// Waiting for a version.
	WatchArmed
	WatchParking
	WatchAwake

	// Waiting for an event count, and waking others.
	EventArmed
	EventParking
	EventAwake
	EventSignalling
	EventRaised
	EventSignalled

	// The first use of a row.
	RowClaimed
	RowUsed

	// Sending, receiving, and what becomes of a message.
	MessagePosted // in its slot, but not sent
	MessageSent
	MessageTaking
	MessageTaken
	CursorMoved
	MessageDone
	HeadMoving
	HeadMoved
	MessageFreed
	CursorLowered
	QueueShut

	// Closing.
	WaitsEnded
	StoresEnded
	MemoryRetired
	LockDisowned
	MessagesGivenBack
	RegistryRelocked
	RowLeft
	PlaceDropped
	Unlinking
	Unlinked

	// Opening and closing, while others do.
	RegistryQueued

	Count // the number of steps
)

var names = [Count]string{
	FileCreated: "FileCreated", FileModeSet: "FileModeSet", FileOpened: "FileOpened",
	RegistryLocked: "RegistryLocked", Inspected: "Inspected",
	FileMarked: "FileMarked", FileCut: "FileCut", FileReserved: "FileReserved",
	HeaderMapped: "HeaderMapped", HeaderWritten: "HeaderWritten", HeaderReady: "HeaderReady",
	SlotHeld: "SlotHeld", RowCleared: "RowCleared", GenerationRaised: "GenerationRaised", HolderPIDSet: "HolderPIDSet", RotorMoved: "RotorMoved",
	ReaderHeld: "ReaderHeld", RegistryUnlocking: "RegistryUnlocking", RegistryUnlocked: "RegistryUnlocked",
	LockTaken: "LockTaken", LockQueued: "LockQueued", LockWaitersSet: "LockWaitersSet", LockParking: "LockParking",
	LockAwake: "LockAwake", LockTaking: "LockTaking", LockTakenOver: "LockTakenOver",
	LockRepairing: "LockRepairing", LockRepaired: "LockRepaired", LockConsistent: "LockConsistent",
	SteppedOver: "SteppedOver", PinSet: "PinSet", PinHeld: "PinHeld", PinCleared: "PinCleared", RowsSeen: "RowsSeen",
	LoanTaken: "LoanTaken", LoanReturning: "LoanReturning", FollowBegun: "FollowBegun", FollowCopied: "FollowCopied",
	ReaderCounted: "ReaderCounted", ReaderEntered: "ReaderEntered", ReaderLeaving: "ReaderLeaving", ReaderLeft: "ReaderLeft",
	LockDraining: "LockDraining", ReadersDrained: "ReadersDrained",
	PermitsTaking: "PermitsTaking", PermitsUsed: "PermitsUsed", PermitsTaken: "PermitsTaken", RowTakenBack: "RowTakenBack",
	PermitsCounted: "PermitsCounted", PermitsReturning: "PermitsReturning", PermitsUnused: "PermitsUnused",
	PermitsReturned: "PermitsReturned", TellDisarmed: "TellDisarmed",
	EventChanging: "EventChanging", EventChanged: "EventChanged",
	CondEnlisted: "CondEnlisted", CondReleased: "CondReleased", CondGranted: "CondGranted", CondRelocked: "CondRelocked",
	CondDelisted: "CondDelisted", CondGranting: "CondGranting", CondInherited: "CondInherited",
	ReadBegun: "ReadBegun", ReadCopied: "ReadCopied",
	SlotUnsealed: "SlotUnsealed", WriteBegun: "WriteBegun", WriteHalf: "WriteHalf", WriteEncoded: "WriteEncoded",
	WriteFilled: "WriteFilled", SlotSealed: "SlotSealed",
	WatchersDisarmed: "WatchersDisarmed", WriteEnded: "WriteEnded",
	Unlocking: "Unlocking", Unlocked: "Unlocked", LockWaking: "LockWaking", LockWoken: "LockWoken",
	WatchersWaking: "WatchersWaking", WatchersWoken: "WatchersWoken",
	WatchArmed: "WatchArmed", WatchParking: "WatchParking", WatchAwake: "WatchAwake",
	EventArmed: "EventArmed", EventParking: "EventParking", EventAwake: "EventAwake",
	EventSignalling: "EventSignalling", EventRaised: "EventRaised", EventSignalled: "EventSignalled",
	RowClaimed: "RowClaimed", RowUsed: "RowUsed",
	MessagePosted: "MessagePosted", MessageSent: "MessageSent", MessageTaking: "MessageTaking", MessageTaken: "MessageTaken",
	CursorMoved: "CursorMoved", MessageDone: "MessageDone", HeadMoving: "HeadMoving", HeadMoved: "HeadMoved",
	MessageFreed: "MessageFreed", CursorLowered: "CursorLowered", QueueShut: "QueueShut",
	WaitsEnded: "WaitsEnded", StoresEnded: "StoresEnded", MemoryRetired: "MemoryRetired", LockDisowned: "LockDisowned",
	MessagesGivenBack: "MessagesGivenBack",
	RegistryRelocked:  "RegistryRelocked", RowLeft: "RowLeft", PlaceDropped: "PlaceDropped", Unlinking: "Unlinking", Unlinked: "Unlinked",
	RegistryQueued: "RegistryQueued",
}

func (s Step) String() string { return names[s] }
