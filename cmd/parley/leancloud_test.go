package main

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"parley/model"
)

// legacyCodes are all error codes of the system that Parley replaces.
var legacyCodes = []int{
	0, 1006, 4100, 4101, 4102, 4103, 4105, 4106, 4107, 4108, 4109, 4110, 4111, 4112, 4113, 4114, 4115, 4116, 4117, 4200, 4201,
	4300, 4301, 4302, 4303, 4304, 4305, 4306, 4307, 4308, 4309, 4310, 4311, 4312, 4313, 4314, 4315, 4316, 4317, 4318, 4320,
	4321, 4322, 4323, 4324, 4325, 4401, 4402, 4403, 4404, 4405, 4406, 4407, 4408, 4543, 4544, 4546, 4548, 4561, 4563,
}

// TestLegacyCodes: each old code is mapped to a code that exists, or explained; and
// each old number that our codes carry stands in the table beside them.
func TestLegacyCodes(t *testing.T) {
	page, err := os.ReadFile("../../docs/LEANCLOUD.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "## Error codes")
	if !ok {
		t.Fatal("docs/LEANCLOUD.md has no section on error codes")
	}
	rows := make(map[int]string)
	for _, m := range regexp.MustCompile("(?m)^\\| (\\d+) \\| (?:`[A-Z_]+`|–) \\| (.+) \\|$").FindAllStringSubmatch(table, -1) {
		n, _ := strconv.Atoi(m[1])
		rows[n] = m[2]
	}
	names := regexp.MustCompile("`([a-z]+(?:_[a-z]+)*)`")
	for _, code := range legacyCodes {
		text, ok := rows[code]
		if !ok {
			t.Errorf("%d is neither mapped nor explained", code)
			continue
		}
		if strings.HasPrefix(text, "not applicable: ") || strings.HasPrefix(text, "not yet: ") {
			continue
		}
		mapped := false
		for _, m := range names.FindAllStringSubmatch(text, -1) {
			if _, known := model.ProblemOf(model.Code(m[1])); known {
				mapped = true
			}
		}
		if !mapped && !strings.Contains(text, "event `session_closed`") {
			t.Errorf("%d is mapped to no code of ours: %s", code, text)
		}
	}
	for _, code := range model.Codes() {
		if p, _ := model.ProblemOf(code); p.Legacy != 0 && !strings.Contains(rows[p.Legacy], "`"+string(code)+"`") {
			t.Errorf("%s carries %d, but the table does not say so: %q", code, p.Legacy, rows[p.Legacy])
		}
	}
}

// legacyNames are what else of that system a program may be written with: events, fields of
// conversations and messages, options, what its SDKs and its REST calls are named, hooks.
const legacyNames = `
	MESSAGE MESSAGE_UPDATE MESSAGE_RECALL INVITED KICKED MEMBERS_JOINED MEMBERS_LEFT CONVERSATION_INFO_UPDATED INFO_UPDATED
	UNREAD_MESSAGES_COUNT_UPDATE LAST_DELIVERED_AT_UPDATE LAST_READ_AT_UPDATE CONFLICT MEMBER_INFO_UPDATED MUTED UNMUTED
	MEMBERS_MUTED MEMBERS_UNMUTED BLOCKED UNBLOCKED MEMBERS_BLOCKED MEMBERS_UNBLOCKED DISCONNECT OFFLINE ONLINE SCHEDULE RETRY RECONNECT
	objectId name attr c m mu lm tr sys unique uniqueId createdAt updatedAt temporaryTTL expiredAt memberInfoTable
	unreadMessagesCount unreadMessagesMentioned lastDeliveredAt lastReadAt lastMessage
	_lctext _lcattrs _lcfile _lcloc objId metaData from timestamp msg-id mention_all mention_client_ids mentioned patchedTimestamp
	deliveredAt readAt ack-at from-ip is-conv is-room data
	transient receipt will no_sync push_data pushData priority from_client to_clients valid_till client_ids isReconnect
	msgid till_msgid till_timestamp include_start include_stop reversed
	startTime startMessageId startClosed endTime endMessageId endClosed direction beforeTime afterMessageId
	signatureFactory conversationSignatureFactory clientId sessionToken nonce
	createIMClient createConversation createChatRoom createTemporaryConversation getConversation getQuery queryMessages createMessagesIterator
	equalTo notEqualTo greaterThan greaterThanOrEqualTo lessThan lessThanOrEqualTo containedIn notContainedIn containsAll containsMembers
	withMembers exists doesNotExist matches startsWith contains endsWith sizeEqualTo addAscending addDescending compact withLastMessagesRefreshed
	/chatrooms /service-conversations /all-conversations /broadcasts /clients/check-online /clients/{id}/unread-count /clients/{id}/kick
	/clients/{id}/service-conversations /clients/sign /stats /clients/{id}/messages online_user_count user_count_today
	_conversationStart _conversationStarted _conversationAdd _conversationAdded _conversationRemove _conversationRemoved _conversationUpdate
	_messageReceived _messageSent _messageUpdate _receiversOffline _clientOnline _clientOffline _rtmClientSign _SysMessage _Conversation _User
	members ttl isSystem isUnique isTransient mutedMembers setMentionList mentionAll getMentionList mentionedAll pushOfflineMessages
	MessagePriority MessageStatus MessageQueryDirection messageType messageField register plugins retry pause resume _profile _apns_team_id
	AVIMConversationOptionUnique AVIMConversationOptionTransient AVIMConversationOptionTemporary AVIMMessageOption AVIMSendOptions AVIMMessageInterval
	initWithClientId openWithCallback closeWithCallback createConversationWithName createChatRoomWithName createTemporaryConversationWithClientIds
	addMembersWithClientIds removeMembersWithClientIds joinWithCallback quitWithCallback sendMessage updateMessage recallMessage readInBackground
	conversationQuery whereKey queryMessagesWithLimit queryMessagesBeforeId queryMessagesInInterval queryMediaMessagesFromServerWithType
	didReceiveTypedMessage messageHasBeenUpdated invitedByClientId membersAdded membersRemoved messageDelivered didUpdateForKey
	imClientPaused imClientResuming imClientResumed messageQueryCacheEnabled addMessageToCache removeMessageFromCache
	getInstance addMembers kickMembers getConversationsQuery getChatRoomQuery whereContains queryMessagesByType onMessage onMessageReceipt
	onMessageUpdated onMessageRecalled onInvited onMemberJoined onMemberLeft onLastReadAtUpdated onUnreadMessagesCountUpdated
	onConnectionPaused onConnectionResume onClientOffline setUnreadNotificationEnabled setMessageQueryCacheEnable addToLocalCache removeFromLocalCache
	AVRealtime CreateClientAsync CloseAsync CreateConversationAsync GetConversationBuilder CreateChatRoomAsync CreateTemporaryConversationAsync
	InviteAsync JoinAsync RemoveMembersAsync LeaveAsync SendAsync ModifyAsync RecallAsync GetQuery GetChatRoomQuery WhereContains
	QueryMessageAsync QueryMessageFromOldToNewAsync QueryMessageAfterAsync QueryMessageInIntervalAsync OnMessageReceived OnMessageModified
	OnMessageRecalled OnInvited OnMembersJoined OnMembersLeft OnMessageDeliverd OnDisconnected OnReconnecting OnReconnected OnReconnectFailed`

// TestLegacyNames: each of them stands somewhere on the page, by itself or with its method.
func TestLegacyNames(t *testing.T) {
	page, err := os.ReadFile("../../docs/LEANCLOUD.md")
	if err != nil {
		t.Fatal(err)
	}
	said := make(map[string]bool)
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(string(page), -1) {
		_, path, _ := strings.Cut(m[1], " ")
		word, _, _ := strings.Cut(m[1], ":")
		_, method, _ := strings.Cut(m[1], ".")
		said[m[1]], said[path], said[word], said[method] = true, true, true, true
	}
	for _, name := range strings.Fields(legacyNames) {
		if !said[name] {
			t.Errorf("nothing says what became of %s", name)
		}
	}
}
