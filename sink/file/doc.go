// Package file delivers events as lines of JSON, appended to a file. Package line says what a line looks like.
//
// All events stand in one order. A batch is written, then flushed to the disk (fsync), then acknowledged: what was
// acknowledged survives a crash of the machine (I1). A full disk is a failure that passes: the file is cut back to where it
// was, so that no torn line is left behind, the operator is told, and the batch is written again when there is room.
//
// The file is locked (flock) from the first event on, so that two relays never cut into each other's lines; a second one
// waits and says for whom. A torn last line that a crash left is cut off, as it was never acknowledged; any other text
// without an end of line is not ours and stops the start with an error (I10).
//
// Rotation is somebody else's work: when the file has been renamed or deleted, the next batch makes a new one under the
// path; when it has been cut short, events go on at its end.
package file
