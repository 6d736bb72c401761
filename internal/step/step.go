// Package step names the points of an operation at which tests kill or stop a
// process to see how the others cope.
//
// Code marks a point with a call of At. In a normal build At is empty and
// compiles to nothing. With the build tag sharedseg_steps a test can Arm one
// point with a function that is then called there, in the goroutine that passes
// it.
//
// Invariants: a step is marked after each change that another process can see,
// and internal/crashtest kills and stops a process at each step.
// docs/reliability.md, "Kills and pauses", describes these tests. The table in
// docs/design.md, "Models", relates the code between the steps to the models.
package step

// Step is a point in the life of a mapping, its locks and its value.
type Step int

// The steps, in the order in which a process that does everything passes them.
const (
	// Opening. The registry is locked from RegistryLocked to RegistryUnlocking.
	FileCreated Step = iota // empty; its mode lacks the bits of the umask
	FileModeSet
	FileOpened
	RegistryLocked // the name may refer to another file by now
	Inspected

	// Initialising.
	FileMarked // over the old content
	FileCut    // to the length of its mark
	FileReserved
	HeaderMapped
	HeaderWritten // everything except the ready word
	HeaderReady

	// Attaching, and releasing the registry. After that the handle is open, or
	// closed.
	SlotHeld   // with the generation of its last holder
	RowCleared // of its last holder's bits
	GenerationRaised
	HolderPIDSet
	RotorMoved
	ReaderHeld
	RegistryUnlocking
	RegistryUnlocked

	// Locking.
	LockTaken // without waiting
	LockQueued
	LockWaitersSet
	LockParking
	LockAwake
	LockTaking // found free after a wait, or owned by a dead handle
	LockTakenOver
	LockRepairing // after the death of an owner
	LockRepaired
	LockConsistent

	// Locking for reading and for writing, with an RWMutex.
	ReaderCounted
	ReaderEntered
	ReaderLeaving
	ReaderLeft
	LockDraining // readers may still be there
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
	CondReleased // the users' mutex is unlocked
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
	WriteHalf // in the middle of an encoding; marked by the codecs of tests
	WriteEncoded
	WriteFilled
	SlotSealed
	WatchersDisarmed
	WriteEnded
	RowsSeen    // by a writer that looks for a slot that is not borrowed
	SteppedOver // a slot that is borrowed, or whose version was already announced

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

	// Sending, receiving, and the further states of a message.
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

	// Opening and closing while other handles do the same.
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
