/** Of the AlarmRaised that FollowGuest has where an event was that its agent no longer has; part of the contract. */
export const FEED_EVENTS_FORGOTTEN = "FEED_EVENTS_FORGOTTEN";
