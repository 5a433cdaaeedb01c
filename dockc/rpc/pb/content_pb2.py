"""Messages of content.proto. Made by `python tools/messages.py`; do not edit."""

from google.protobuf import descriptor_pool
from google.protobuf.internal import builder
from dockc.rpc.pb import common_pb2 as common_pb2

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(
    b'\n\x1adockc/rpc/pb/content.proto\x12\x11dockc.rpc.content\x1a\x19dockc/rpc/pb/common.pro'
    b'to"\xe0\x01\n\x04Info\x12\x0e\n\x06digest\x18\x01 \x01(\t\x12\x0c\n\x04size\x18\x02 \x01(\x03\x12*\n\ncreated_at\x18\x03 \x01(\x0b2\x16.dockc.rp'
    b'c.common.Time\x12*\n\nupdated_at\x18\x04 \x01(\x0b2\x16.dockc.rpc.common.Time\x123\n\x06labels\x18\x05 \x03('
    b'\x0b2#.dockc.rpc.content.Info.LabelsEntry\x1a-\n\x0bLabelsEntry\x12\x0b\n\x03key\x18\x01 \x01(\t\x12\r\n\x05va'
    b'lue\x18\x02 \x01(\t:\x028\x01"\x1d\n\x0bInfoRequest\x12\x0e\n\x06digest\x18\x01 \x01(\t"5\n\x0cInfoResponse\x12%\n\x04info\x18\x01 \x01'
    b'(\x0b2\x17.dockc.rpc.content.Info"i\n\rUpdateRequest\x12%\n\x04info\x18\x01 \x01(\x0b2\x17.dockc.rpc.c'
    b'ontent.Info\x121\n\x0bupdate_mask\x18\x02 \x01(\x0b2\x1c.dockc.rpc.content.FieldMask"\x1a\n\tFieldM'
    b'ask\x12\r\n\x05paths\x18\x01 \x03(\t"7\n\x0eUpdateResponse\x12%\n\x04info\x18\x01 \x01(\x0b2\x17.dockc.rpc.content.I'
    b'nfo"%\n\x12ListContentRequest\x12\x0f\n\x07filters\x18\x01 \x03(\t"<\n\x13ListContentResponse\x12%\n\x04inf'
    b'o\x18\x01 \x03(\x0b2\x17.dockc.rpc.content.Info"&\n\x14DeleteContentRequest\x12\x0e\n\x06digest\x18\x01 \x01(\t'
    b'"B\n\x12ReadContentRequest\x12\x0e\n\x06digest\x18\x01 \x01(\t\x12\x0e\n\x06offset\x18\x02 \x01(\x03\x12\x0c\n\x04size\x18\x03 \x01(\x03"3\n\x13'
    b'ReadContentResponse\x12\x0e\n\x06offset\x18\x01 \x01(\x03\x12\x0c\n\x04data\x18\x02 \x01(\x0c"\x9e\x01\n\x06Status\x12*\n\nstarted_'
    b'at\x18\x01 \x01(\x0b2\x16.dockc.rpc.common.Time\x12*\n\nupdated_at\x18\x02 \x01(\x0b2\x16.dockc.rpc.common.'
    b'Time\x12\x0b\n\x03ref\x18\x03 \x01(\t\x12\x0e\n\x06offset\x18\x04 \x01(\x03\x12\r\n\x05total\x18\x05 \x01(\x03\x12\x10\n\x08expected\x18\x06 \x01(\t"\x1c\n\rSt'
    b'atusRequest\x12\x0b\n\x03ref\x18\x01 \x01(\t";\n\x0eStatusResponse\x12)\n\x06status\x18\x01 \x01(\x0b2\x19.dockc.rpc.c'
    b'ontent.Status"&\n\x13ListStatusesRequest\x12\x0f\n\x07filters\x18\x01 \x03(\t"C\n\x14ListStatusesRes'
    b'ponse\x12+\n\x08statuses\x18\x01 \x03(\x0b2\x19.dockc.rpc.content.Status"\x84\x02\n\x13WriteContentReque'
    b'st\x12.\n\x06action\x18\x01 \x01(\x0e2\x1e.dockc.rpc.content.WriteAction\x12\x0b\n\x03ref\x18\x02 \x01(\t\x12\r\n\x05total'
    b'\x18\x03 \x01(\x03\x12\x10\n\x08expected\x18\x04 \x01(\t\x12\x0e\n\x06offset\x18\x05 \x01(\x03\x12\x0c\n\x04data\x18\x06 \x01(\x0c\x12B\n\x06labels\x18\x07 \x03(\x0b22'
    b'.dockc.rpc.content.WriteContentRequest.LabelsEntry\x1a-\n\x0bLabelsEntry\x12\x0b\n\x03key'
    b'\x18\x01 \x01(\t\x12\r\n\x05value\x18\x02 \x01(\t:\x028\x01"\xcd\x01\n\x14WriteContentResponse\x12.\n\x06action\x18\x01 \x01(\x0e2\x1e.doc'
    b'kc.rpc.content.WriteAction\x12*\n\nstarted_at\x18\x02 \x01(\x0b2\x16.dockc.rpc.common.Time\x12*'
    b'\n\nupdated_at\x18\x03 \x01(\x0b2\x16.dockc.rpc.common.Time\x12\x0e\n\x06offset\x18\x04 \x01(\x03\x12\r\n\x05total\x18\x05 \x01('
    b'\x03\x12\x0e\n\x06digest\x18\x06 \x01(\t"\x1b\n\x0cAbortRequest\x12\x0b\n\x03ref\x18\x01 \x01(\t*.\n\x0bWriteAction\x12\x08\n\x04STAT\x10\x00\x12'
    b'\t\n\x05WRITE\x10\x01\x12\n\n\x06COMMIT\x10\x02b\x06proto3'
)
builder.BuildMessageAndEnumDescriptors(DESCRIPTOR, globals())
builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, "dockc.rpc.pb.content_pb2", globals())
