// Package progress follows messages of one partition that are finished out of order.
//
//	Add 10  Add 11  Add 12      Finish 12   Low 10      Finish 10   Low 11      Finish 11   Low 13
//
// Promise: Low is never above a message that was added and is not finished.
//
// It knows neither records nor databases.
package progress
