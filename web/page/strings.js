// The page's words, in English and Chinese.

const EN = {
  tagline: 'Talk to each other, on your own server.',
  name: 'Your name', signIn: 'Sign in', signOut: 'Sign out', token: 'Token',
  nameHint: 'Any name: this server runs with a development key. Open a second window to be somebody else.',
  tokenHint: 'A client token of your application. `parley token --client Tom` prints one.',
  tokenAgain: 'Your token has expired', tokenAgainText: 'Paste a new one to go on where you are.', notYours: 'This token is for somebody else.',
  language: 'Language', conversations: 'Conversations', chats: 'Chats', rooms: 'Rooms', messages: 'Messages', skip: 'Skip to the conversation',
  connecting: 'Connecting…', connected: 'Connected', offline: 'Offline: the network is away',
  reconnecting: 'Reconnecting…', reconnectingIn: 'Connection lost. Next attempt in {n} s', retryNow: 'Try now',
  nothingOpen: 'Choose a conversation, or start one.', noChats: 'No conversations yet.', noRooms: 'No rooms yet.', noMessages: 'No messages yet. Say hello!',
  add: 'New', newChat: 'New chat', newGroup: 'New group', newRoom: 'New room', joinById: 'Join by id', loadMore: 'Show more',
  withWhom: 'With whom', groupName: 'Name of the group', roomName: 'Name of the room', members: 'Members', membersHint: 'Names, separated by commas',
  conversationId: 'Conversation id', create: 'Create', start: 'Start', join: 'Join', cancel: 'Cancel', close: 'Close', save: 'Save', ok: 'OK', needed: 'This is needed.',
  back: 'Back to the list', details: 'Details', online: 'online', offlineNow: 'offline', nMembers: '{n} members', nOnline: '{n} here now', temporary: 'Temporary', service: 'Service', room: 'Room',
  you: 'you', You: 'You', onlyMe: 'Only you', invite: 'Invite', kick: 'Remove', kickName: 'Remove {name}', leave: 'Leave', leaveText: 'You will get no more messages of this conversation.',
  leaveRoom: 'Leave the room', rename: 'Rename', renameLabel: 'Name', mute: 'Do not disturb', muted: 'Do not disturb', copy: 'Copy', copied: 'Copied.', unread: '{n} unread', mentionedYou: 'you were mentioned',
  message: 'Message', writeTo: 'Message to {name}', send: 'Send', attach: 'Attach', photo: 'Photo', file: 'File', location: 'Location', priority: 'Priority',
  high: 'High', normal: 'Normal', low: 'Low', editing: 'Editing a message', cancelEdit: 'Cancel editing', mentionWhom: 'Whom to mention', everyone: 'all', everyoneHint: 'everyone here',
  latitude: 'Latitude', longitude: 'Longitude', placeName: 'Description', myPosition: 'Use my position', noPosition: 'Your position is not available.', badPlace: 'Latitude is -90 to 90, longitude -180 to 180.',
  typing1: '{a} is typing…', typing2: '{a} and {b} are typing…', typingMany: 'Several people are typing…',
  edit: 'Edit', recall: 'Recall', whoRead: 'Who has read it', copyText: 'Copy text', actions: 'Actions for this message', retry: 'Retry', discard: 'Discard',
  edited: 'edited', recalled: '{name} recalled a message', recalledYou: 'You recalled a message', newMessages: 'New messages', toBottom: 'To the newest message', nNew: '{n} new',
  pending: 'sending', sent: 'sent', delivered: 'delivered', read: 'read', failed: 'Not sent', readBy: 'Read', deliveredTo: 'Delivered', notYet: 'Not yet', nobody: 'Nobody',
  image: 'Image', audio: 'Audio', video: 'Video', aFile: 'File', aPlace: 'Location', unknownType: 'Message of another kind', bytes: '{n} bytes', uploading: 'Uploading', openImage: 'Show the image {name}', download: 'Download',
  today: 'Today', yesterday: 'Yesterday', invitedBy: '{by} added {names}', joined: '{names} joined', left: '{names} left', kickedBy: '{by} removed {names}', renamed: '{by} changed the name to “{name}”', unnamed: '{by} removed the name',
  youWereKicked: '{by} removed you from “{name}”.', wasDeleted: '“{name}” was deleted.', invitedYou: '{by} added you to “{name}”.', leftIt: 'You have left “{name}”.', system: 'The system',
  closed_logged_out: 'You have signed out.', closed_kicked: 'The server has ended your session.', closed_banned: 'You are banned from this server.', closed_replaced: 'Signed in from another window.',
  closed_too_many_streams: 'Too many windows are open.', closed_session_conflict: 'Signed in on another device.', closed_other: 'Your session has ended.',
  err_network: 'The server cannot be reached.', err_unauthenticated: 'This token is not valid.', err_conversation_not_found: 'There is no such conversation.', err_not_a_member: 'You are not a member.',
  err_rate_limited: 'Too fast: wait a moment.', err_message_too_large: 'This message is too long.', err_file_too_large: 'This file is too large.', err_conversation_full: 'This conversation is full.',
  err_message_recalled: 'This message has been recalled.', err_message_edit_disabled: 'Editing is switched off.', err_message_recall_disabled: 'Recalling is switched off.', err_conversation_expired: 'This conversation is over.',
  err_acting_client_required: 'This is a server token: a client token is needed.',
}

const ZH = {
  tagline: '在自己的服务器上聊天。',
  name: '你的名字', signIn: '登录', signOut: '退出登录', token: '令牌',
  nameHint: '任意名字均可：本服务器使用开发密钥。再打开一个窗口即可用另一个名字登录。',
  tokenHint: '你的应用签发的客户端令牌。可用 `parley token --client Tom` 生成。',
  tokenAgain: '令牌已过期', tokenAgainText: '粘贴新的令牌以继续。', notYours: '这个令牌属于别人。',
  language: '语言', conversations: '会话', chats: '聊天', rooms: '聊天室', messages: '消息', skip: '跳到会话',
  connecting: '正在连接…', connected: '已连接', offline: '离线：网络不可用',
  reconnecting: '正在重新连接…', reconnectingIn: '连接已断开，{n} 秒后重试', retryNow: '立即重试',
  nothingOpen: '选择一个会话，或者新建一个。', noChats: '还没有会话。', noRooms: '还没有聊天室。', noMessages: '还没有消息，打个招呼吧！',
  add: '新建', newChat: '新聊天', newGroup: '新群聊', newRoom: '新聊天室', joinById: '按 ID 加入', loadMore: '显示更多',
  withWhom: '和谁聊', groupName: '群聊名称', roomName: '聊天室名称', members: '成员', membersHint: '名字之间用逗号分隔',
  conversationId: '会话 ID', create: '创建', start: '开始', join: '加入', cancel: '取消', close: '关闭', save: '保存', ok: '确定', needed: '此项必填。',
  back: '返回列表', details: '详情', online: '在线', offlineNow: '离线', nMembers: '{n} 位成员', nOnline: '{n} 人在线', temporary: '临时会话', service: '服务号', room: '聊天室',
  you: '你', You: '你', onlyMe: '只有你', invite: '邀请', kick: '移出', kickName: '移出 {name}', leave: '退出会话', leaveText: '你将不再收到此会话的消息。',
  leaveRoom: '离开聊天室', rename: '改名', renameLabel: '名称', mute: '免打扰', muted: '免打扰', copy: '复制', copied: '已复制。', unread: '{n} 条未读', mentionedYou: '有人提到你',
  message: '消息', writeTo: '发消息给 {name}', send: '发送', attach: '附件', photo: '图片', file: '文件', location: '位置', priority: '优先级',
  high: '高', normal: '普通', low: '低', editing: '正在修改消息', cancelEdit: '取消修改', mentionWhom: '提到谁', everyone: '所有人', everyoneHint: '此会话的所有人',
  latitude: '纬度', longitude: '经度', placeName: '说明', myPosition: '使用我的位置', noPosition: '无法获取你的位置。', badPlace: '纬度为 -90 到 90，经度为 -180 到 180。',
  typing1: '{a} 正在输入…', typing2: '{a} 和 {b} 正在输入…', typingMany: '多人正在输入…',
  edit: '修改', recall: '撤回', whoRead: '谁已读', copyText: '复制文字', actions: '对此消息的操作', retry: '重试', discard: '放弃',
  edited: '已修改', recalled: '{name} 撤回了一条消息', recalledYou: '你撤回了一条消息', newMessages: '新消息', toBottom: '到最新消息', nNew: '{n} 条新消息',
  pending: '发送中', sent: '已发送', delivered: '已送达', read: '已读', failed: '未发送', readBy: '已读', deliveredTo: '已送达', notYet: '尚未', nobody: '无',
  image: '图片', audio: '语音', video: '视频', aFile: '文件', aPlace: '位置', unknownType: '其他类型的消息', bytes: '{n} 字节', uploading: '上传中', openImage: '查看图片 {name}', download: '下载',
  today: '今天', yesterday: '昨天', invitedBy: '{by} 邀请了 {names}', joined: '{names} 加入了', left: '{names} 退出了', kickedBy: '{by} 移出了 {names}', renamed: '{by} 将名称改为“{name}”', unnamed: '{by} 移除了名称',
  youWereKicked: '{by} 将你移出了“{name}”。', wasDeleted: '“{name}”已被删除。', invitedYou: '{by} 邀请你加入“{name}”。', leftIt: '你已退出“{name}”。', system: '系统',
  closed_logged_out: '你已退出登录。', closed_kicked: '服务器结束了你的登录。', closed_banned: '你已被此服务器封禁。', closed_replaced: '已在另一个窗口登录。',
  closed_too_many_streams: '打开的窗口太多。', closed_session_conflict: '已在另一台设备登录。', closed_other: '登录已结束。',
  err_network: '无法连接服务器。', err_unauthenticated: '令牌无效。', err_conversation_not_found: '没有这个会话。', err_not_a_member: '你不是成员。',
  err_rate_limited: '操作太快，请稍候。', err_message_too_large: '消息太长。', err_file_too_large: '文件太大。', err_conversation_full: '会话人数已满。',
  err_message_recalled: '消息已被撤回。', err_message_edit_disabled: '不允许修改消息。', err_message_recall_disabled: '不允许撤回消息。', err_conversation_expired: '会话已结束。',
  err_acting_client_required: '这是服务器令牌：需要客户端令牌。',
}

const LANGUAGES = { en: EN, zh: ZH }
const KEPT = 'parley language'
const listeners = new Set()
let language = localStorage.getItem(KEPT) ?? (navigator.language.startsWith('zh') ? 'zh' : 'en')
if (!LANGUAGES[language]) language = 'en'

// A name may turn its own letters around, but not the sentence that it stands in.
const unturned = (value) => String(value).replace(/[\u202a-\u202e\u2066-\u2069]/g, '')

/** The words of a key; {n} and the like stand for what values has. */
export function t(key, values) {
  const text = LANGUAGES[language][key]
  if (text === undefined) throw new Error('no words for ' + key)
  return values ? text.replace(/\{(\w+)\}/g, (_, k) => unturned(values[k])) : text
}

/** What went wrong, in words. */
export function explain(err) {
  const key = 'err_' + err.type
  return key in EN ? t(key) : err.detail ?? err.message ?? String(err)
}

/** Why a session has ended. */
export const closedWords = (code) => t('closed_' + code in EN ? 'closed_' + code : 'closed_other')

export const currentLanguage = () => language
export function setLanguage(to) {
  language = to
  localStorage.setItem(KEPT, to)
  translate(document)
  for (const f of listeners) f()
}
export const onLanguage = (f) => { listeners.add(f) }

/** Puts the words into what says by data-t, data-t-label and data-t-placeholder which it wants. */
export function translate(root) {
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en'
  for (const node of root.querySelectorAll('[data-t]')) node.textContent = t(node.dataset.t)
  for (const node of root.querySelectorAll('[data-t-label]')) {
    node.setAttribute('aria-label', t(node.dataset.tLabel))
    if (node.matches('button')) node.title = t(node.dataset.tLabel)
  }
}

const formats = new Map()
function format(options) {
  const key = language + JSON.stringify(options)
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat(language === 'zh' ? 'zh-CN' : navigator.language.startsWith('en') ? navigator.language : 'en', options))
  return formats.get(key)
}
const dayNumber = (date) => Math.floor((date.getTime() - date.getTimezoneOffset() * 60_000) / 86_400_000)

export const sameDay = (a, b) => dayNumber(a) === dayNumber(b)
export const clock = (date) => format({ hour: '2-digit', minute: '2-digit' }).format(date)
export const fullTime = (date) => format({ dateStyle: 'long', timeStyle: 'medium' }).format(date)
/** Today, Yesterday, Monday, November 3. */
export function day(date) {
  const ago = dayNumber(new Date()) - dayNumber(date)
  if (ago === 0 || ago === 1) return t(ago ? 'yesterday' : 'today')
  return format({ weekday: 'long', month: 'long', day: 'numeric', ...(date.getFullYear() !== new Date().getFullYear() && { year: 'numeric' }) }).format(date)
}
/** The time today, else the day, as short as can be. */
export function shortTime(date) {
  const ago = dayNumber(new Date()) - dayNumber(date)
  if (ago === 0) return clock(date)
  if (ago === 1) return t('yesterday')
  return format(ago < 7 ? { weekday: 'short' } : { year: '2-digit', month: 'numeric', day: 'numeric' }).format(date)
}
export function size(bytes) {
  const units = ['KB', 'MB', 'GB']
  if (bytes < 1000) return t('bytes', { n: bytes })
  let n = bytes / 1000
  while (n >= 1000 && units.length > 1) { n /= 1000; units.shift() }
  return `${n.toFixed(n < 10 ? 1 : 0)} ${units[0]}`
}
