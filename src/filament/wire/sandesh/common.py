"""What every daemon may be asked: its state, its observations (UVEs), load and traces."""

from __future__ import annotations

COMMON = """
module sandesh_uve: what this process tells of itself
request SandeshUVECacheReq(tname string, key string): the observations of one type
request SandeshUVETypesReq: the types of observations there are
response SandeshUVECacheResp(1 returned u32, 2 period i32?)
response SandeshUVETypesResp(1 type_info list<SandeshUVETypeInfo>)
struct SandeshUVETypeInfo(
    1 type_name string >SandeshUVECacheReq, 2 seq_num u32, 3 period i32, 5 timeout i32)

response NodeStatusUVE(1 data NodeStatus)
struct NodeStatus(
    1 name string, 2 deleted bool?, 3 status string?, 4 process_status list<ProcessStatus>?,
    5 process_info list<ProcessInfo>?, 7 description string?, 8 all_core_file_list list<string>?,
    9 build_info string?, 15 running_package_version string?,
    16 installed_package_version string?)
struct ProcessStatus(
    1 module_id string, 2 instance_id string, 3 state string,
    4 connection_infos list<ConnectionInfo>?, 6 description string?)
struct ConnectionInfo(
    1 type string, 2 name string, 3 server_addrs list<string>?, 4 status string,
    5 description string?)
struct ProcessInfo(
    1 process_name string, 2 process_state string, 3 start_count u32, 4 stop_count u32,
    5 exit_count u32, 6 last_start_time string?, 7 last_stop_time string?,
    8 last_exit_time string?, 9 core_file_list list<string>?)

module cpuinfo: load and memory
request CpuLoadInfoReq: load and memory of this process and machine
response CpuLoadInfoResp(1 cpu_info CpuLoadInfo)
struct CpuLoadInfo(
    1 num_cpu u32, 5 sys_mem_info SysMemInfo?, 2 meminfo MemInfo, 3 cpuload CpuLoadAvg?,
    4 cpu_share double)
struct MemInfo(1 virt u32, 2 peakvirt u32, 3 res u32)
struct SysMemInfo(1 total u32, 2 used u32, 3 free u32, 4 buffers u32, 6 cached u32)
struct CpuLoadAvg(1 one_min_avg double, 2 five_min_avg double, 3 fifteen_min_avg double)

module sandesh_trace: what happened lately
request SandeshTraceRequest(buf_name string, count i32): the last entries of a trace buffer
request SandeshTraceBufferListRequest: the trace buffers there are
response SandeshTraceBufferListResponse(1 trace_buffer_list list<SandeshTraceBufInfo>)
struct SandeshTraceBufInfo(1 trace_buf_name string >SandeshTraceRequest)
response SandeshTraceTextResponse(1 traces list<string>)
"""
