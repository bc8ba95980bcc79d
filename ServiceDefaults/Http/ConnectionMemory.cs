using System.Buffers;
using System.Collections.Concurrent;
using Microsoft.AspNetCore.Connections;

namespace Platform.ServiceDefaults;

/// <summary>
/// Memory of HTTP connections in blocks of 32 KiB, where the framework's own have 4 KiB. A socket is read one block at a time, so a body of
/// some hundred kilobytes (remote write, OTLP, events in bulk) takes an eighth of the system calls and wake-ups. An idle connection holds none.
/// </summary>
internal sealed class ConnectionMemory : MemoryPool<byte>, IMemoryPoolFactory<byte>
{
    private const int BlockBytes = 32 * 1024;

    // 4 MiB that stay; what is rented beyond goes to the garbage collector when it comes back.
    private const int MostIdle = 128;

    private readonly ConcurrentQueue<byte[]> _idle = new();
    private int _idleCount;

    public override int MaxBufferSize => BlockBytes;

    public MemoryPool<byte> Create(MemoryPoolOptions? options = null) => this;

    public override IMemoryOwner<byte> Rent(int minBufferSize = -1)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(minBufferSize, BlockBytes);
        if (_idle.TryDequeue(out var block))
        {
            Interlocked.Decrement(ref _idleCount);
        }

        // Pinned for good: the socket reads and writes it without pinning it each time.
        return new Block(this, block ?? GC.AllocateUninitializedArray<byte>(BlockBytes, pinned: true));
    }

    /// <summary>Nothing: all transports share it, and it lives as long as the process.</summary>
    protected override void Dispose(bool disposing)
    {
    }

    private void Return(byte[] block)
    {
        if (Interlocked.Increment(ref _idleCount) <= MostIdle)
        {
            _idle.Enqueue(block);
        }
        else
        {
            Interlocked.Decrement(ref _idleCount);
        }
    }

    private sealed class Block(ConnectionMemory pool, byte[] bytes) : IMemoryOwner<byte>
    {
        private byte[]? _bytes = bytes;

        public Memory<byte> Memory => Pinned(_bytes ?? throw new ObjectDisposedException(nameof(Block)));

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _bytes, null) is { } returned)
            {
                pool.Return(returned);
            }
        }

        private static Memory<byte> Pinned(byte[] bytes) => System.Runtime.InteropServices.MemoryMarshal.CreateFromPinnedArray(bytes, 0, bytes.Length);
    }
}
