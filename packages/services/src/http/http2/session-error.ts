/**
 * For each error that ended a session. Until its stack is asked for, such an error leads to the native session, which holds this side's until SETTINGS are confirmed: where the other side never confirmed them, a circle that nothing frees, of 30 KB for each
 * connection.
 */
export function letGoOfSession(error: Error): void {
  void error.stack
}
