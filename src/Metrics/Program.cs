using Platform.Contracts;
using Platform.Messaging;
using Platform.Metrics.Events;
using Platform.Metrics.Stats;
using Platform.Postgres;
using Platform.ServiceDefaults;

var builder = WebApplication.CreateBuilder(args);

builder.AddServiceDefaults();
builder.AddPostgres("metricsdb");
builder.AddMessaging("metrics");
builder.AddAlertingClient();
builder.AddIncidentsClient();

builder.AddEvents();

var app = builder.Build();

app.MapDefaultEndpoints();
app.MapEvents();
app.MapStats();
app.MapDeadLetters("metrics");

app.Run();
