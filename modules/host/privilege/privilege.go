// Package privilege turns on what administrators of Windows may do, but don't by themselves:
// https://learn.microsoft.com/windows/win32/secauthz/privilege-constants
package privilege
